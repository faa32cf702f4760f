"""What workflows promise, on each database: several workers, some of which die, and every order carried out."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
import sqlalchemy as sa
from dbos import DBOS

import tests.faults.fleet
from longtake.errors import CallerError, DatabaseError, FaultError, StoreError
from longtake.records import Turn, open_database
from longtake.workflows import MOST_DEATHS, Executor, database_address, executor, locks_of, migrate_workflows, names
from longtake.workflows.liveness import PostgresLocks
from longtake.workflows.recovery import HANDED_BACK, _table, running
from longtake.workflows.slots import Slots, Token
from tests.faults.fleet import GRACE_SECONDS, Done, Fleet, context, soon, work
from tests.postgres import Databases


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with DBOS's tables."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'longtake.db'}"
        open_database(url).connect().close()  # makes it a WAL one
        migrate_workflows(url)
        yield url
        return
    databases: Databases = request.getfixturevalue("postgres_databases")
    url = databases.fresh(empty=True)
    migrate_workflows(url)
    yield url
    databases.drop(url)


@pytest.fixture
def fleet(address: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(address, tmp_path)
    yield fleet
    fleet.close()


def test_a_workflow_is_enqueued_with_the_transaction_or_not_at_all(fleet: Fleet) -> None:
    turn = Turn("0" * 36, 1, "motion", "a", 0)
    with fleet.database.connect() as connection:
        fleet.workflows.enqueue(connection, turn)
        connection.rollback()
    assert fleet.status(turn.id) is None
    with fleet.database.begin() as connection:
        fleet.workflows.enqueue(connection, turn)
    assert fleet.status(turn.id) == "ENQUEUED"
    assert list(fleet.workflows.lost([(turn.id, 1), (turn.id, 2)])) == [(turn.id, 2, "MISSING")]


@pytest.mark.parametrize("fallback", [False, True], ids=["by_dbos", "by_the_update_itself"])
def test_what_a_killed_worker_had_begun_goes_on_in_another_at_the_step_that_it_died_in(
    fleet: Fleet, fallback: bool
) -> None:
    id = fleet.order(steps=3, wait=[1])
    first = fleet.worker(fallback=fallback)
    soon(lambda: len(fleet.begun()) == 2, "the second step is begun")
    second = fleet.worker(fallback=fallback)
    fleet.kill(first)
    soon(lambda: len(fleet.begun()) == 3, "another goes on")
    fleet.release(id, 1)
    soon(lambda: fleet.is_done(id), "it is done")
    assert fleet.begun() == [
        Done(id, 0, 1, first.pid or 0),
        Done(id, 1, 1, first.pid or 0),
        Done(id, 1, 2, second.pid or 0),
        Done(id, 2, 2, second.pid or 0),
    ]
    assert fleet.ended(id) == ""


def test_a_worker_that_starts_takes_up_what_one_that_is_gone_has_left(fleet: Fleet) -> None:
    id = fleet.order(steps=2, wait=[0])
    first = fleet.worker()
    soon(fleet.begun, "the first step is begun")
    fleet.kill(first)
    fleet.release(id, 0)
    fleet.worker()
    soon(lambda: fleet.is_done(id), "it is done")
    assert [(one.step, one.start) for one in fleet.begun()] == [(0, 1), (0, 2), (1, 2)]


def test_a_step_that_holds_pythons_lock_for_longer_than_the_grace_is_not_taken_from_its_worker(fleet: Fleet) -> None:
    id = fleet.order(steps=1, gil=5 * GRACE_SECONDS)
    fleet.worker()
    fleet.worker()
    soon(lambda: fleet.is_done(id), "it is done")
    assert len(fleet.begun(id)) == 1


def test_a_step_that_has_killed_three_workers_fails_with_that_reason(fleet: Fleet) -> None:
    id = fleet.order(steps=2, die=[1])
    after = fleet.order()
    for _ in range(MOST_DEATHS):
        fleet.worker().join()
    fleet.worker()
    soon(lambda: fleet.is_done(id, after), "both have ended")
    assert fleet.ended(id) == f"{MOST_DEATHS} workers died while they tried to step 1"
    assert [one.step for one in fleet.begun(id)] == [0, 1, 1, 1]
    assert fleet.ended(after) == ""


def test_what_runs_beside_one_that_kills_its_workers_is_not_given_up_with_it(fleet: Fleet) -> None:
    poison = fleet.order("a", die=[0], seconds=0.2)
    beside = [fleet.order(account, seconds=0.6) for account in ("b", "c", "c")]
    num_workers = 0
    while fleet.ended(poison) is None or not all(map(fleet.ended_well, beside)):
        num_workers += 1
        assert num_workers <= 2 * MOST_DEATHS
        worker = fleet.worker(concurrency=4)
        soon(lambda: not worker.is_alive() or fleet.is_done(poison, *beside), "it has died, or all is done")  # noqa: B023
    assert fleet.ended(poison) == f"{MOST_DEATHS} workers died while they tried to step 0"
    assert len(fleet.begun(poison)) == MOST_DEATHS


def test_while_a_last_try_waits_to_be_alone_webhooks_go_on_and_then_it_is_first(fleet: Fleet) -> None:
    suspect = fleet.order("a", wait=[0])
    first = fleet.worker()
    soon(lambda: len(fleet.begun(suspect)) == 1, "it is begun")
    fleet.kill(first)
    second = fleet.worker()
    soon(lambda: len(fleet.begun(suspect)) == 2, "it is begun again")
    long = fleet.order("b", wait=[0])
    third = fleet.worker(concurrency=2)
    soon(lambda: fleet.begun(long), "another has a slot")
    fleet.kill(second)
    soon(lambda: fleet.num_handed_back(suspect), "its last try is not alone")
    later = fleet.order("c")
    with fleet.database.begin() as connection:
        fleet.workflows.enqueue_webhook(connection, 1, 1, 0.0, "a")
    soon(lambda: fleet.begun("webhook 1"), "the webhook is delivered meanwhile")
    assert not fleet.begun(later)
    fleet.release(long, 0)
    soon(lambda: len(fleet.begun(suspect)) == 3, "it is alone")
    assert not fleet.begun(later)
    fleet.release(suspect, 0)
    soon(lambda: fleet.is_done(suspect, long, later), "all are done")
    assert {fleet.begun(id)[-1].pid for id in (suspect, long, later)} == {third.pid}


def test_what_waits_to_be_alone_holds_up_nobody_once_another_worker_has_it() -> None:
    waits = True
    slots = Slots(2, ["render.motion"], still_waits=lambda _: waits)
    accounts = slots.fair(lambda _: ["a", "b"])
    slots._note("render.motion", "a", [Token("suspect", "1")])
    slots._note("render.motion", "b", [Token("beside", "2")])
    assert not slots.alone(Token("suspect", "1"))
    slots.want(Token("suspect", "1"))
    slots.end(Token("suspect", "1"))
    assert accounts("render.motion") == []
    assert accounts("webhooks") == ["a", "b"]
    waits = False
    assert accounts("render.motion") == ["a", "b"]


@pytest.mark.parametrize(("queue", "most"), [(names.WORKFLOW, MOST_DEATHS), (names.WEBHOOK_QUEUE, 10)])
def test_a_webhook_is_tried_again_after_more_deaths_than_an_order(
    queue: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DBOS, "run_step", lambda _, function: function())
    owned = executor._Owned(cast("Executor", SimpleNamespace(slots=Slots(1, []))), queue)
    owned._lives = most
    assert owned.step("deliver", lambda: 7) == 7
    owned._lives, owned._last = most + 1, 1
    with pytest.raises(FaultError, match=f"{most} workers died"):
        owned.step("deliver", lambda: 7)


def test_a_worker_whose_lock_is_away_takes_nothing_until_it_has_it_again(fleet: Fleet) -> None:
    if fleet.url.startswith("sqlite"):
        pytest.skip("a lock on a file goes with its process only")
    id = fleet.order(wait=[0])
    worker = fleet.worker(concurrency=2, lockless=True)
    soon(fleet.begun, "it is begun")
    (fleet.folder / "no locks").touch()
    fleet.worker("other")
    soon(lambda: fleet.status(id) == "ENQUEUED", "the other one takes it for dead")
    for _ in range(10):  # as long as it took to be taken for dead, and longer
        other = fleet.order(engine="other", seconds=0.1)
        soon(lambda: fleet.is_done(other), "time goes by")  # noqa: B023
    assert fleet.status(id) == "ENQUEUED"
    assert [one.start for one in fleet.begun(id)] == [1]
    (fleet.folder / "no locks").unlink()
    soon(lambda: len(fleet.begun(id)) == 2, "it takes up work again")
    fleet.release(id, 0)
    soon(lambda: fleet.is_done(id), "it is done")
    assert {one.pid for one in fleet.begun(id)} == {worker.pid}


def test_one_accounts_many_orders_do_not_hold_up_the_first_of_another(fleet: Fleet) -> None:
    for _ in range(200):
        fleet.order("many")
    fleet.worker()
    soon(lambda: len(fleet.begun()) >= 3, "the first ones are begun")
    before = len(fleet.begun())
    one = fleet.order("few")
    soon(lambda: fleet.begun(one), "it is begun")
    order = [done.id for done in fleet.begun()]
    assert order.index(one) - before <= 3


def test_of_an_accounts_orders_those_of_a_greater_priority_go_first(fleet: Fleet) -> None:
    low, middle, high = (fleet.order(priority=priority) for priority in (0, 5, 9))
    fleet.worker()
    soon(lambda: fleet.is_done(low, middle, high), "all are done")
    assert [one.id for one in fleet.begun()] == [high, middle, low]


def test_concurrency_is_each_processs_own_and_is_shared_by_its_engines(fleet: Fleet) -> None:
    ids = [fleet.order(account, engine=engine, wait=[0]) for account in "abcd" for engine in ("motion", "other")]
    one = fleet.worker("motion", "other", concurrency=1)
    three = fleet.worker("motion", "other", concurrency=3)
    soon(lambda: len(fleet.begun()) == 4, "all slots are taken")
    assert Counter(done.pid for done in fleet.begun()) == {one.pid: 1, three.pid: 3}
    waiting = [id for id in ids if not fleet.begun(id)]
    assert {fleet.status(id) for id in waiting} == {"ENQUEUED"}, "where any other worker can take them"
    for id in ids:
        fleet.release(id, 0)
    soon(lambda: fleet.is_done(*ids), "all are done")
    assert max(Counter(done.id for done in fleet.begun()).values()) == 1


def test_what_no_worker_has_the_engine_for_waits_until_one_has(fleet: Fleet) -> None:
    waiting, other = fleet.order(engine="rare"), fleet.order()
    fleet.worker("motion")
    soon(lambda: fleet.is_done(other), "the other one is done")
    assert fleet.status(waiting) == "ENQUEUED"
    fleet.worker("rare")
    soon(lambda: fleet.is_done(waiting), "it is done")


def test_a_worker_that_drains_ends_its_step_and_hands_the_rest_back_and_that_is_no_death(fleet: Fleet) -> None:
    id = fleet.order(steps=2, wait=[0, 1])
    fleet.release(id, 0)
    for number in range(MOST_DEATHS + 1):
        worker = fleet.worker(drain=0.0)
        soon(lambda number=number: len(fleet.begun(id)) == number + 2, "the second step is begun")  # type: ignore[misc]
        worker.terminate()
        worker.join()
        assert worker.exitcode == 0
        assert fleet.status(id) == "ENQUEUED"
    worker = fleet.worker(drain=20.0)
    soon(lambda: len(fleet.begun(id)) == MOST_DEATHS + 3, "the second step is begun")
    later = fleet.order()
    worker.terminate()
    fleet.release(id, 1)
    worker.join()
    assert worker.exitcode == 0
    assert not fleet.begun(later), "nothing is taken once the end is asked for"
    fleet.worker()
    soon(lambda: fleet.is_done(id, later), "both are done")
    assert fleet.ended(id) == ""
    starts = [one.start for one in fleet.begun(id) if one.step == 1]
    assert starts == list(range(1, MOST_DEATHS + 3)), "no two runs have the same start, and a step that ended stays so"


def test_webhooks_are_delivered_by_whichever_worker_and_wait_without_one(fleet: Fleet) -> None:
    with fleet.database.begin() as connection:
        fleet.workflows.enqueue_webhook(connection, 7, 1, 0.0, "a")
        fleet.workflows.enqueue_webhook(connection, 8, 1, 3600.0, "a")
    fleet.worker()
    soon(fleet.begun, "it is delivered")
    assert [one.id for one in fleet.begun()] == ["webhook 7"]
    assert list(fleet.workflows.lost_webhooks([(7, 2), (8, 1)])) == [(7, 2, "MISSING")]


def work_whose_first_start_meets_a_lock(url: str, folder: Path, given: dict[str, Any]) -> None:
    """A worker process. Steps of an order that is told so meet a lock at its first start, after they have waited."""

    def take(folder: Path, id: str, number: int, start: int, told: dict[str, Any]) -> str:
        value = take_anyway(folder, id, number, start, told)
        if told.get("lock") and start == 1:
            raise DatabaseError("a lock was not had in time")
        return value

    take_anyway = tests.faults.fleet.take
    tests.faults.fleet.take = take
    work(url, folder, given)


def test_one_that_is_given_back_leaves_those_that_were_taken_with_it_alone(fleet: Fleet) -> None:
    ids = fleet.order(wait=[0], lock=True), fleet.order(wait=[0])
    process = context.Process(
        target=work_whose_first_start_meets_a_lock,
        args=(fleet.url, fleet.folder, {"engines": ("motion",), "concurrency": 2}),
    )
    process.start()
    try:
        soon(lambda: len(fleet.begun()) == 2, "both are begun")
        assert len({run.owner for run in running(fleet.database)}) == 1, "by one dequeue"
        fleet.release(ids[0], 0)
        soon(lambda: fleet.is_done(ids[0]), "the one that was interrupted is done")
        assert [run.workflow_id for run in running(fleet.database)] == [f"{ids[1]}.1"]
        fleet.release(ids[1], 0)
        soon(lambda: fleet.is_done(ids[1]), "the other is done")
    finally:
        fleet.kill(process)
    assert [one.start for one in fleet.begun(ids[0])] == [1, 2]
    assert [one.start for one in fleet.begun(ids[1])] == [1]


def work_beside_a_store_that_is_away(url: str, folder: Path, given: dict[str, Any]) -> None:
    """A worker process that gives up at the third start. Steps of an order meet no store at so many of its starts."""

    def take(folder: Path, id: str, number: int, start: int, told: dict[str, Any]) -> str:
        value = take_anyway(folder, id, number, start, told)
        if start <= told.get("away", 0):
            raise StoreError("no store", retryable=told.get("retryable", True))
        return value

    take_anyway = tests.faults.fleet.take
    tests.faults.fleet.take = take
    executor.MOST_STARTS = 3
    work(url, folder, given)


def test_a_store_that_is_away_is_waited_for_but_not_for_ever_nor_where_it_refuses(fleet: Fleet) -> None:
    back, away, refuses = fleet.order(away=2), fleet.order(away=99), fleet.order(away=99, retryable=False)
    process = context.Process(
        target=work_beside_a_store_that_is_away,
        args=(fleet.url, fleet.folder, {"engines": ("motion",), "concurrency": 3}),
    )
    process.start()
    try:
        soon(lambda: fleet.is_done(back, away, refuses), "all have ended")
    finally:
        fleet.kill(process)
    assert fleet.ended(back) == ""
    assert "no store" in (fleet.ended(away) or "")
    assert "no store" in (fleet.ended(refuses) or "")
    assert [one.start for one in fleet.begun(away)] == [1, 2, 3]
    assert [one.start for one in fleet.begun(refuses)] == [1]


def test_only_what_is_of_an_older_version_is_lost_and_it_is_taken_out_of_its_queue(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = (fleet_order_of(fleet, version, monkeypatch) for version in (9, 11))
    monkeypatch.setattr(names, "VERSION", "10")
    assert list(fleet.workflows.lost([(older, 1), (newer, 1)])) == [(older, 1, "OUTDATED")]
    fleet.workflows.withdraw(older, 1)
    assert (fleet.status(older), fleet.status(newer)) == ("CANCELLED", "ENQUEUED")


def fleet_order_of(fleet: Fleet, version: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(names, "VERSION", str(version))
    return fleet.order()


def test_what_runs_is_not_withdrawn(fleet: Fleet) -> None:
    id = fleet.order(wait=[0])
    fleet.worker()
    soon(fleet.begun, "it is begun")
    fleet.workflows.withdraw(id, 1)
    assert fleet.status(id) == "PENDING"


def test_what_was_handed_back_hundreds_of_times_still_runs(fleet: Fleet) -> None:
    id = fleet.order()
    table = _table(fleet.database.dialect)
    times = {"recovery_attempts": 300, "attributes": {HANDED_BACK: 300}}
    with fleet.database.begin() as connection:
        connection.execute(sa.update(table).where(table.c.workflow_uuid == f"{id}.1").values(times))
    fleet.worker()
    soon(lambda: fleet.status(id) not in ("ENQUEUED", "PENDING"), "it has ended")
    assert (fleet.status(id), fleet.ended(id)) == ("SUCCESS", "")


def test_accounts_that_have_nothing_for_this_version_do_not_starve_the_others() -> None:
    slots = Slots(1, ["queue"])
    accounts = [f"old{number}" for number in range(60)] + ["live"]
    waiting = slots.fair(lambda _: list(accounts))
    asked: list[str] = []

    def start(_queue: object, _id: str, _version: str, account: str, *_: object, **__: object) -> tuple[list[str], Any]:
        asked.append(account)
        return (["one"] if account == "live" else []), None

    bounded = slots.bound(start)
    had, num_looks = 0, 0
    while had < 5:
        num_looks += 1
        assert num_looks <= 40, "a turn of each of the others ahead of each"
        for account in dbos_shuffles(waiting("queue")):
            ids, why = bounded(SimpleNamespace(name="queue"), "", "", account, 0, owner_xid=str(num_looks))
            for id in ids:
                slots.end(Token(id, str(num_looks)))
                had += 1
            if ids or why:
                break
    num_asked = Counter(asked)
    assert max(num_asked[account] for account in accounts if account != "live") <= 2, "then they are passed over"
    accounts.remove("old7")
    waiting("queue")
    accounts.append("old7")
    assert "old7" in waiting("queue"), "who was gone meanwhile is asked at once"


def dbos_shuffles(accounts: list[str]) -> list[str]:
    random.shuffle(accounts)
    return accounts


def test_a_worker_that_others_took_for_dead_is_written_into_the_book_again() -> None:
    class Book:
        def __init__(self) -> None:
            self.known = ["another"]

        def add(self, id: str) -> None:
            self.known.append(id)

        def remove(self, id: str) -> None:
            self.known.remove(id)

        def ids(self) -> list[str]:
            return self.known

    book = Book()
    listed = SimpleNamespace(id="me", _book=book, slots=Slots(1, []))
    for _ in range(2):
        Executor._listed(cast("Executor", listed))
    assert book.known == ["another", "me"]
    listed.slots.drain(0.0)
    book.remove("me")
    assert Executor._listed(cast("Executor", listed)) == {"another"}
    assert book.known == ["another"], "who drains has gone for good"


def test_a_worker_that_was_frozen_and_taken_for_dead_writes_nothing_and_takes_new_work(fleet: Fleet) -> None:
    id = fleet.order(steps=2, wait=[0])
    frozen = fleet.worker(concurrency=1)
    soon(fleet.begun, "the first step is begun")
    assert frozen.pid
    os.kill(frozen.pid, signal.SIGSTOP)
    lose_lock(fleet, frozen.pid)
    other = fleet.worker()
    soon(lambda: len(fleet.begun()) == 2, "the other one takes over")
    os.kill(frozen.pid, signal.SIGCONT)
    fleet.release(id, 0)
    soon(lambda: fleet.is_done(id), "it is done")
    assert [(one.step, one.pid) for one in fleet.begun()] == [(0, frozen.pid), (0, other.pid), (1, other.pid)]
    fleet.kill(other)
    new = fleet.order()
    soon(lambda: fleet.is_done(new), "the frozen one goes on with other work")
    assert fleet.begun(new)[0].pid == frozen.pid


def lose_lock(fleet: Fleet, pid: int) -> None:
    """As a network that is cut does it; a lock on a file goes with its process only: there it is taken away."""
    if fleet.url.startswith("sqlite"):
        (lock,) = (Path(fleet.url.partition("///")[2]).parent / "workers").glob(f"*-{pid}-*")
        lock.unlink()
        return
    with psycopg.connect(fleet.url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s", (f"%-{pid}-%",)
        )
        assert ended.fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("mysql://host/name", "must be postgresql"),
        ("postgresql://host", "must name the database"),
        ("nonsense", "must be postgresql"),
        ("postgres://me:sec@ret@host/name", "an @ in the password is to be written %40"),
        ("postgresql+psycopg://me:secret@host:x/name", "its port is no number"),
        ("postgresql://me:secret@host/name?nope=1", "knows no option 'nope'"),
    ],
)
def test_an_address_of_another_database_is_a_sentence(given: str, why: str) -> None:
    """The same one, whoever is given it."""
    for read in (database_address, open_database):
        with pytest.raises(CallerError, match=f"^LONGTAKE_DATABASE_URL: .*{why}") as caught:
            read(given)
        assert caught.value.field == "LONGTAKE_DATABASE_URL"
        assert "sec" not in caught.value.message


@pytest.mark.parametrize("form", ["postgres", "postgresql", "postgresql+psycopg"])
def test_workers_on_postgres_hold_locks_there_however_its_address_begins(form: str) -> None:
    assert isinstance(locks_of(f"{form}://u:p@h:1/d"), PostgresLocks)


def test_addresses_of_postgres_are_read_in_all_their_forms() -> None:
    forms = ("postgres://u:p@h:1/d", "postgresql://u:p@h:1/d", "postgresql+psycopg://u:p@h:1/d")
    read = {database_address(form) for form in forms}
    assert len(read) == 1
    url = sa.make_url(read.pop())
    assert (url.drivername, url.username, url.password, url.port, url.database) == ("postgresql", "u", "p", 1, "d")
    pace = {"keepalives_idle": "5", "keepalives_interval": "3", "keepalives_count": "3", "tcp_user_timeout": "14000"}
    assert pace.items() <= url.query.items(), "a machine that has vanished loses its locks within 14 s"
    ours = [name if name.startswith("tcp_") else f"tcp_{name}" for name in pace]
    assert url.query["options"] == " ".join(
        f"-c {name}={value}" for name, value in zip(ours, pace.values(), strict=True)
    )
    kept = sa.make_url(database_address("postgresql:///d?options=-c%20search_path%3Dx&connect_timeout=3"))
    assert kept.query["connect_timeout"] == "3"
    assert str(kept.query["options"]).endswith("-c search_path=x")

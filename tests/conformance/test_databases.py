"""What every database must do, SQLite and a real Postgres alike; and what several machines do at once."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.errors import Cancelled, ConflictError, DatabaseError, LimitError, UnknownError
from longtake.orders import KeyFrame, Order
from longtake.records import (
    Change,
    Changes,
    Create,
    Generation,
    Keys,
    Limits,
    PartialUpload,
    Records,
    Result,
    Turn,
    Upload,
    WorkerRow,
    count_request,
    database,
    kept_secret,
    open_database,
    seconds_ahead,
)
from longtake.records.database import lock_account
from longtake.records.events import PROGRESS
from longtake.records.moving import Mover
from longtake.records.needed import Needs
from longtake.records.seen import FORGOTTEN_AT_ONCE
from longtake.records.tables import creates, events, generations
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from longtake.wire.problems import problem_of

TIMELINE = Timeline(VideoFormat(64, 48, Fraction(24)), (Segment("a", "segments/a.mp4", 0, 24, (0,)),))
RESULT = Result(TIMELINE, 0, 24, "videos/a.mp4", "segments/a.mp4", "images/a.jpg", 1000, (), (), {})
ROUNDS = 4


class House:
    """Several machines on one database: each has records of its own, and all hand over to the same list."""

    def __init__(self, url: str, machines: int = 4) -> None:
        self.engines = [open_database(url) for _ in range(machines)]
        self.enqueued: list[Turn] = []
        self.machines = [Records(engine, self._enqueue) for engine in self.engines]
        self.keys = Keys(self.engines[0])
        self.key, _ = self.keys.create("test")

    @property
    def records(self) -> Records:
        return self.machines[0]

    def _enqueue(self, _: sa.Connection, turn: Turn) -> None:
        self.enqueued.append(turn)

    def order(self, *parents: str, account: str = "default", priority: int = 0, prompt: str = "x") -> Generation:
        before = KeyFrame(type="generation", id=parents[0]) if parents else None
        now = time.time()
        return Generation(
            id=str(uuid.uuid4()), account=account, key_id=self.key.id, wire="native", request={}, engine="motion",
            order=Order(prompt=prompt, before=before, seconds=Fraction(5), priority=priority), credits=5.0,
            created_at=now, updated_at=now, parents=tuple((f"frame{n}", parent) for n, parent in enumerate(parents)),
        )  # fmt: skip

    def running(self) -> str:
        made = self.records.submit(self.order())
        self.records.start(made.id, 1)
        return made.id

    def close(self) -> None:
        for engine in self.engines:
            engine.dispose()


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    house = House(database_url)
    yield house
    house.close()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """All of them, as near to the same moment as threads come."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_two_parents_that_complete_at_once_free_their_bridge_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where both are as far as looking for children before either has committed, if only they may be."""
    both_look, free = threading.Barrier(2), Mover._free_children

    def look(self: Mover, connection: sa.Connection, id: str) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_look.wait(0.2)
        free(self, connection, id)

    monkeypatch.setattr(Mover, "_free_children", look)
    first, second = house.running(), house.running()
    bridge = house.records.submit(house.order(first, second))
    one, other, *_ = house.machines
    assert at_once(lambda: one.complete(first, 1, RESULT), lambda: other.complete(second, 1, RESULT)) == [True] * 2
    assert [turn.id for turn in house.enqueued].count(bridge.id) == 1


def test_a_child_that_is_ordered_while_its_parent_completes_is_freed_once(house: House) -> None:
    for _ in range(ROUNDS):
        parent = house.running()
        child = house.order(parent)
        one, other, *_ = house.machines
        at_once(lambda: one.complete(parent, 1, RESULT), lambda: other.submit(child))  # noqa: B023
        assert [turn.id for turn in house.enqueued].count(child.id) == 1


def test_a_child_of_a_parent_that_fails_meanwhile_is_refused_or_fails_with_it(house: House) -> None:
    for _ in range(ROUNDS):
        parent = house.running()
        child = house.order(parent)
        one, other, *_ = house.machines

        def submit(records: Records = other, child: Generation = child) -> bool:
            try:
                return records.submit(child) is not None
            except ConflictError:
                return False

        _, taken = at_once(lambda: one.fail(parent, "no", "fault"), submit)  # noqa: B023
        assert child.id not in {turn.id for turn in house.enqueued}
        assert not taken or house.records.get(child.id).state == "failed"


def test_a_limit_of_five_lets_five_of_twenty_through_whichever_machine_they_come_to(house: House) -> None:
    def submit(number: int) -> bool:
        try:
            house.machines[number % 4].submit(house.order(), limits=Limits(generations_at_once=5))
        except LimitError:
            return False
        return True

    assert sum(at_once(*(lambda n=n: submit(n) for n in range(20)))) == 5
    assert house.records.count("default") == 5


def test_a_create_that_comes_to_several_machines_at_once_makes_one(house: House) -> None:
    for number in range(ROUNDS):
        create = Create(key_id="k", digest="d", name=f"name-{number}", received_at=time.time())
        made = at_once(*(lambda r=r: r.submit(house.order(), create=create) for r in house.machines))  # noqa: B023
        assert len({generation.id for generation in made}) == 1
    assert house.records.count("default") == ROUNDS
    with house.engines[0].begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(creates)).scalar_one() == ROUNDS + 1


def test_unfinished_uploads_are_counted_across_machines(house: House) -> None:
    def begin(records: Records) -> bool:
        try:
            records.begin_upload(PartialUpload(str(uuid.uuid4()), "default", 10, "", None, 1.0), most=2)
        except ConflictError:
            return False
        return True

    assert sum(at_once(*(lambda r=r: begin(r) for r in house.machines * 2))) == 2


def test_a_given_key_and_the_first_one_are_made_once(house: House) -> None:
    keys = [Keys(engine) for engine in house.engines]
    assert len({key.id for key in at_once(*(lambda k=k: k.ensure("a-given-secret") for k in keys))}) == 1
    assert at_once(*(lambda k=k: k.create_first("first") for k in keys)) == [None] * 4
    with house.engines[0].begin() as connection:
        connection.execute(sa.text("DELETE FROM keys"))
    first = at_once(*(lambda k=k: k.create_first("first") for k in keys))
    (secret,) = (one for one in first if one)
    assert keys[0].check(secret).name == "first"


def test_a_secret_is_made_once_and_then_the_same_for_all(house: House) -> None:
    def secret(number: int) -> bytes:
        return kept_secret(house.engines[number], "links", lambda: bytes([number]) * 32)

    found = at_once(*(lambda n=n: secret(n) for n in range(4)))
    assert len(set(found)) == 1
    assert kept_secret(house.engines[0], "links", lambda: b"another") == found[0]
    assert kept_secret(house.engines[0], "webhooks", lambda: b"another") == b"another"


class Storm:
    """What several machines may do to the generations of a few accounts, in any order."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.chance = random.Random(seed)
        self.ids: list[tuple[str, str]] = []

    def step(self, records: Records, chance: random.Random) -> None:
        account = chance.choice(["a", "b"])
        mine = [id for id, owner in list(self.ids) if owner == account]
        if not mine or chance.random() < 0.35:
            parents = chance.sample(mine, min(len(mine), chance.randrange(3)))
            order = self.house.order(*parents, account=account)
            create = Create(key_id="k", digest="d", name=str(chance.randrange(40)), received_at=time.time())
            self.ids.append((records.submit(order, create=create).id, account))
            return
        id = chance.choice(mine[-8:])
        attempt = records.get(id).attempt
        is_handed_over = any((turn.id, turn.attempt) == (id, attempt) for turn in list(self.house.enqueued))
        match chance.randrange(7):
            case 0 | 1 if is_handed_over:
                records.start(id, attempt)
            case 2:
                records.report(id, attempt, "render", chance.random())
            case 3 | 4 if is_handed_over:
                records.start(id, attempt)
                records.complete(id, attempt, RESULT)
            case 5:
                records.fail(id, "no", "fault", attempt=attempt)
            case 6:
                records.retry(id, account)

    def run(self, steps: int) -> None:
        def work(records: Records, seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(steps):
                with contextlib.suppress(Cancelled, ConflictError):
                    self.step(records, chance)

        seeds = [self.chance.random() for _ in self.house.machines]
        at_once(*(lambda r=r, s=s: work(r, s) for r, s in zip(self.house.machines, seeds, strict=True)))


def test_a_storm_from_all_sides_meets_no_deadlock_and_hands_each_over_once(house: House) -> None:
    Storm(house, 1).run(40)
    assert max(Counter((turn.id, turn.attempt) for turn in house.enqueued).values()) == 1
    handed = {(turn.id, turn.attempt) for turn in house.enqueued}
    assert set(house.records.unfinished()) <= handed
    with house.engines[0].begin() as connection:
        started = sa.select(generations.c.id, generations.c.attempt).where(generations.c.state != "queued")
        told = sa.select(events.c.generation_id).where(events.c.type == "generation.completed")
        done = Counter(connection.execute(told).scalars())
        states = connection.execute(started).all()
    assert all(count == 1 for count in done.values())
    assert states


def test_who_resumes_after_any_event_of_an_account_misses_none(house: House) -> None:
    """However often it looks while others write: of two that are written at once, none comes late."""
    changes, over, seen = Changes(house.engines[0]), threading.Event(), list[Change]()

    def follow() -> None:
        last = 0
        while True:
            is_last = over.is_set()
            batch = changes.after(last, account="a")
            seen.extend(batch)
            last = batch[-1].id if batch else last
            if is_last:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    Storm(house, 3).run(40)
    over.set()
    follower.join()
    there = [change.id for change in changes.after(0, account="a") if change.type != PROGRESS]
    assert [change.id for change in seen if change.type != PROGRESS] == there


def test_a_watcher_is_told_of_each_event_once_whatever_the_order_of_commits(house: House) -> None:
    changes, stop, heard = Changes(house.engines[0]), threading.Event(), list[Change]()
    watcher = threading.Thread(target=changes.watch, args=(heard.extend, stop), kwargs={"after": 0})
    watcher.start()
    try:
        Storm(house, 4).run(25)
        last = house.running()
        deadline = time.monotonic() + 10
        while not any(change.generation_id == last and change.data["state"] == "dreaming" for change in heard):
            assert time.monotonic() < deadline
            stop.wait(0.01)
        with house.engines[0].begin() as connection:
            there = set(connection.execute(sa.select(events.c.id).where(events.c.type != PROGRESS)).scalars())
        while not there <= {change.id for change in heard}:
            assert time.monotonic() < deadline
            stop.wait(0.01)
    finally:
        stop.set()
        watcher.join()
    assert max(Counter(change.id for change in heard).values()) == 1


def test_an_event_that_is_committed_late_is_told_late_and_not_lost(postgres_url: str) -> None:
    house = House(postgres_url, 2)
    changes, stop, heard = Changes(house.engines[0]), threading.Event(), list[Change]()
    id = house.running()
    came = threading.Condition()

    def tell(batch: list[Change]) -> None:
        with came:
            heard.extend(batch)
            came.notify_all()

    def wait_for(kind: str) -> None:
        with came:
            assert came.wait_for(lambda: any(change.type == kind for change in heard), 10)

    event = {"generation_id": id, "account": "default", "data": {}, "created_at": 1.0}
    with house.engines[1].connect() as slow:
        slow.execute(sa.insert(events).values(type="late", **event))
        house.running()
        watcher = threading.Thread(target=changes.watch, args=(tell, stop))
        watcher.start()
        try:
            while not heard:
                house.running()
                stop.wait(0.05)
            slow.execute(sa.insert(events).values(type="later", **event))
            with house.engines[1].begin() as quick:
                quick.execute(sa.insert(events).values(type="first", **event))
            wait_for("first")
            slow.commit()
            wait_for("late")
            wait_for("later")
        finally:
            stop.set()
            watcher.join()
    house.close()


def test_progress_does_not_overtake_what_another_generation_of_its_account_tells(postgres_url: str) -> None:
    """Or who resumes after it would miss that."""
    house, changes = House(postgres_url, 2), Changes(open_database(postgres_url))
    rendered, event = (
        house.running(),
        {"generation_id": "b", "data": {}, "created_at": 1.0, "type": "generation.failed"},
    )
    with house.engines[1].begin() as slow:
        lock_account(slow, "default")
        slow.execute(sa.insert(events).values(account="default", **event))
        report = threading.Thread(target=house.records.report, args=(rendered, 1, "render", 0.5))
        report.start()
        here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
        waits = sa.text(f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = {here}")
        while report.is_alive() and not slow.scalar(waits):
            report.join(0.01)
        assert PROGRESS not in {change.type for change in changes.after(0)}
    report.join()
    assert [change.type for change in changes.after(0)][-2:] == ["generation.failed", PROGRESS]
    changes.close()
    house.close()


@pytest.mark.parametrize("rate", [1, 7, 60, 600])
def test_a_rate_is_kept_by_all_machines_together_as_by_one(house: House, rate: int) -> None:
    """Against the same algorithm in memory: the same requests pass, and the others wait as long."""
    chance, now, until = random.Random(rate), 1_700_000_000.0, 0.0
    interval = 60.0 / rate
    for number in range(60):
        now += chance.choice([0.0, 0.0, 0.0, interval / 2, interval, 20.0])
        begins = max(until, now)
        wait = begins + interval - now - 60.0
        found = count_request(house.engines[number % 4], "k", rate, now)
        if wait <= interval / 1e6:
            assert found == 0
            until = begins + interval
        else:
            assert found == pytest.approx(wait, abs=1e-4)
        assert seconds_ahead(house.engines[0], "k", now) == pytest.approx(max(0.0, until - now), abs=1e-4)


def test_a_burst_at_all_machines_at_once_is_counted_whole(house: House) -> None:
    now = time.time()
    waits = at_once(*(lambda e=e: [count_request(e, "k", 10, now) for _ in range(5)] for e in house.engines))
    assert sum(wait == 0 for some in waits for wait in some) == 10


def test_who_waits_too_long_for_a_connection_is_told_to_try_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for all, on Postgres; on SQLite as many as it has."""
    for name, value in {"CONNECTIONS": 1, "MOST_CONNECTIONS": 1, "POOL_SECONDS": 0.01}.items():
        monkeypatch.setattr(database, name, value)
    house = House(database_url, machines=1)
    id, engine = house.running(), house.engines[0]
    num_taken = 1 if engine.dialect.name == "postgresql" else 15
    with contextlib.ExitStack() as held:
        for _ in range(num_taken):
            held.enter_context(engine.connect())
        with pytest.raises(DatabaseError) as caught:
            house.records.report(id, 1, "render", 0.5)
    problem = problem_of(caught.value)
    assert (problem.status, problem.headers) == (503, {"retry-after": "1"})
    house.records.report(id, 1, "render", 0.5)
    house.close()


def test_workers_say_who_they_are_and_go(house: House) -> None:
    workers = house.records.workers
    first, second = WorkerRow("b", "h", 7, ("motion",), 2, 1.5), WorkerRow("a", "h", 8, ("motion", "x"), 1, 2.5)
    for worker in (second, first, first):
        workers.add(worker)
    assert workers.all() == [first, second]
    workers.remove("b")
    workers.remove("b")
    assert workers.all() == [second]


def test_what_was_made_of_an_upload_first_stands(house: House) -> None:
    upload = Upload("u", "default", "video", "uploads/u", 64, 48, 1.0, 24.0, 1, "", 1.0)
    house.records.add_upload(upload)
    assert house.records.brought("u") is None
    said = at_once(*(lambda n=n, r=r: r.keep_brought("u", {"n": n}) for n, r in enumerate(house.machines)))
    assert len({one["n"] for one in said}) == 1
    assert house.records.brought("u") == said[0]
    assert house.records.get_upload("u", "default") == upload
    house.records.forget_upload("u", "default")
    assert house.records.brought("u") is None


def test_those_who_run_the_house_see_queues_and_what_is_rendered(house: House) -> None:
    parent = house.running()
    first = house.records.submit(house.order(priority=3))
    second = house.records.submit(house.order())
    house.records.submit(house.order(parent))
    house.records.report(parent, 1, "render", 0.25)
    assert house.records.waiting_by_engine([parent]) == {"motion": (2, first.created_at)}
    begun = house.records.get(parent).started_at
    assert house.records.waiting_by_engine([]) == {"motion": (3, begun)}, "no worker has it in hand"
    (running,) = house.records.running()
    assert (running.id, running.account, running.engine, running.stage, running.progress) == (
        parent, "default", "motion", "render", 0.25,
    )  # fmt: skip
    assert running.started_at == house.records.get(parent).started_at
    assert Turn(first.id, 1, "motion", "default", 3) in house.enqueued
    assert Turn(second.id, 1, "motion", "default", 0) in house.enqueued


def test_events_of_what_ended_long_ago_are_forgotten_but_the_last(house: House) -> None:
    old, young, running = house.running(), house.running(), house.running()
    for id in (old, young):
        house.records.complete(id, 1, RESULT)
    with house.engines[0].begin() as connection:
        connection.execute(sa.update(generations).where(generations.c.id == old).values(ended_at=1000.0))
    changes = Changes(house.engines[0])
    whole = {id: changes.after(0, generation_id=id) for id in (old, young, running)}
    assert house.records.forget_events(2000.0) == len(whole[old]) - 1
    assert house.records.forget_events(2000.0) == 0
    assert changes.after(0, generation_id=old) == whole[old][-1:]
    assert all(changes.after(0, generation_id=id) == whole[id] for id in (young, running))


def test_a_trace_and_text_with_a_nul_survive_the_database(house: House) -> None:
    made = house.order(prompt="before\0after")
    made = Generation(**{**{n: getattr(made, n) for n in made.__dataclass_fields__}, "trace": "00-ab-cd-01"})
    house.records.submit(made)
    found = house.records.get(made.id)
    assert (found.trace, found.order.prompt) == ("00-ab-cd-01", "before\0after")
    house.records.submit(house.order(made.id))
    assert house.records.was_extended(made.id)
    house.records.fail(made.id, "it broke\0here", "fault")
    assert (house.records.get(made.id).failure_reason or "").startswith("it broke")
    for id in ("\0", "a\0b"):
        with pytest.raises(UnknownError):
            house.records.get(id, "default")
        assert house.records.find_upload(id, "default") is None


def test_a_completion_whose_answer_was_lost_may_be_said_again(house: House) -> None:
    id = house.running()
    assert house.records.complete(id, 1, RESULT)
    assert house.records.complete(id, 1, RESULT)
    other = Result(TIMELINE, 0, 24, "videos/b.mp4", "segments/b.mp4", "images/b.jpg", 1, (), (), {})
    assert not house.records.complete(id, 1, other)
    assert not house.records.complete(str(uuid.uuid4()), 1, RESULT)
    assert house.records.get(id).result == RESULT


def test_a_look_at_a_generation_is_one_statement(house: House) -> None:
    parent, statements = house.running(), list[str]()
    child = house.records.submit(house.order(parent)).id

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    sa.event.listen(house.engines[0], "before_cursor_execute", note)
    found = house.records.get(child, "default")
    assert found.parents == (("frame0", parent),)
    assert len(statements) == 1
    assert [one.parents for one in house.records.page("default")] == [found.parents, ()]
    assert len(statements) == 2


@pytest.fixture
def history(house: House) -> House:
    """A house with three thousand generations that have ended, each with two events, and one that runs."""
    made = house.records.get(house.running())
    with house.engines[0].begin() as connection:
        row = dict(connection.execute(sa.select(generations)).one()._mapping) | {"state": "completed"}
        rows = [row | {"id": f"{n:06}", "ended_at": float(n // 3)} for n in range(3000)]
        connection.execute(sa.insert(generations), rows)
        event = {"account": made.account, "type": "x", "data": {}, "created_at": 1.0}
        told = [event | {"generation_id": row["id"]} for row in rows for _ in range(2)]
        connection.execute(sa.insert(events), told)
    with house.engines[0].connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    return house


def plans_of(engine: sa.Engine, call: Callable[[], object], table: str) -> list[str]:
    """How the database goes about each statement of the call that looks at the table."""
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, statement: str, parameters: object, *_: object) -> None:
        if f"FROM {table}" in statement:
            statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    call()
    sa.event.remove(engine, "before_cursor_execute", note)
    how = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with engine.connect() as connection:
        asked = [connection.exec_driver_sql(f"{how} {text}", given).all() for text, given in statements]
    return ["\n".join(str(row[-1]) for row in rows) for rows in asked]


def reads_all_of(table: str, plan: str) -> bool:
    return re.search(rf"Seq Scan on {table}\b|SCAN {table}\b", plan) is not None


def test_what_has_not_ended_is_found_by_its_index_however_long_the_history_is(history: House) -> None:
    (plan,) = plans_of(history.engines[0], history.records.unfinished, "generations")
    assert "generations_by_state" in plan
    assert not reads_all_of("generations", plan)
    assert len(history.records.unfinished()) == 1


def test_a_long_history_of_events_is_forgotten_page_by_page(history: House) -> None:
    """Each page is found where the last one ended, also where many ended at the same moment."""
    gone: list[int] = []
    pages = plans_of(history.engines[0], lambda: gone.append(history.records.forget_events(900.0)), "generations")
    assert gone == [2700]
    assert len(pages) == -(-2700 // FORGOTTEN_AT_ONCE) + 1
    for plan in pages:
        assert "generations_by_end" in plan
        assert not reads_all_of("generations", plan)
    looks = plans_of(history.engines[0], lambda: history.records.forget_events(1e9), "events")
    assert looks
    for plan in looks:
        assert not reads_all_of("events", plan)
    assert history.records.forget_events(1e9) == 0


def test_deleted_generations_are_found_by_their_index_however_long_the_history_is(history: House) -> None:
    history.records.delete("000007", "default")
    needs, gone = Needs(history.engines[0]), list[int]()
    plans = plans_of(history.engines[0], lambda: gone.append(needs.forget_generations(time.time() + 1)), "generations")
    assert gone == [1]
    assert "generations_by_deletion" in plans[0]
    assert not any(reads_all_of("generations", plan) for plan in plans)


def test_reads_on_postgres_open_no_transaction(postgres_url: str) -> None:
    engine = open_database(postgres_url)
    with read_only(engine).begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        raw: Any = connection.connection.driver_connection
        assert raw.info.transaction_status.name == "IDLE"
    engine.dispose()


def test_a_process_that_hangs_inside_a_transaction_loses_its_lock(postgres_url: str) -> None:
    address = sa.make_url(postgres_url)
    given = " ".join(address.normalized_query.get("options", ()))
    hasty = f"{given} -c idle_in_transaction_session_timeout=100ms".lstrip()
    hung = open_database(address.update_query_dict({"options": hasty}).render_as_string(hide_password=False))
    other = open_database(postgres_url)
    with hung.connect() as connection:
        lock_account(connection, "a")
        with other.begin() as waiting:
            lock_account(waiting, "a")  # returns as soon as the server has ended the other session
        connection.invalidate()
    for engine in (hung, other):
        engine.dispose()

"""The records: states, parents, credits, keys, events."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longtake.errors import AuthError, Cancelled, ConflictError, CreditError, DatabaseError, UnknownError
from longtake.orders import KeyFrame, Order, Upscale
from longtake.planning import Extent
from longtake.records import (
    Change,
    Changes,
    Generation,
    Keys,
    Limits,
    Records,
    Result,
    Turn,
    Upload,
    migrate,
    open_database,
)
from longtake.records.tables import generations, keys, metadata
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat

TIMELINE = Timeline(VideoFormat(64, 48, Fraction(24)), (Segment("a", "segments/a.mp4", 0, 24, (0,)),))
RESULT = Result(TIMELINE, 0, 24, "videos/a.mp4", "segments/a.mp4", "images/a.jpg", 1000, (), (), {})


class Desk:
    """Records on a fresh database, and what was handed to the workflows."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_database(url)
        self.enqueued: list[tuple[str, int]] = []
        self.records = Records(self.engine, lambda _, turn: self.enqueued.append(turn[:2]))
        self.keys = Keys(self.engine)
        self.key, _ = self.keys.create("test", limit=100)

    def submit(self, *parents: str, seconds: int = 5, edit: Upscale | None = None) -> str:
        now = time.time()
        ends = [("frame0", KeyFrame(type="generation", id=parents[0]))] if parents else []
        id = str(uuid.uuid4())
        self.records.submit(
            Generation(
                id=id, account=self.key.account, key_id=self.key.id, wire="native", request={}, engine="motion",
                order=Order(prompt="x", before=ends[0][1] if ends else None, seconds=Fraction(seconds), edit=edit),
                credits=seconds, created_at=now, updated_at=now,
                parents=tuple((f"frame{n}", parent) for n, parent in enumerate(parents)),
            )
        )  # fmt: skip
        return id


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    desk = Desk(database_url)
    yield desk
    desk.engine.dispose()


def test_an_order_is_recorded_and_enqueued_in_one_commit(desk: Desk) -> None:
    def refuse(_: sa.Connection, turn: Turn) -> None:
        raise RuntimeError("the queue is not there")

    id = desk.submit()
    assert desk.enqueued == [(id, 1)]
    assert desk.records.get(id, desk.key.account).state == "queued"
    desk.records = Records(desk.engine, refuse)
    with pytest.raises(RuntimeError):
        desk.submit()
    assert desk.records.count(desk.key.account) == 1


def test_a_child_is_enqueued_when_the_last_of_its_parents_ends(desk: Desk) -> None:
    first, second = desk.submit(), desk.submit()
    child = desk.submit(first, second)
    assert child not in dict(desk.enqueued)
    desk.records.start(first, 1)
    desk.records.complete(first, 1, RESULT)
    assert child not in dict(desk.enqueued)
    assert desk.records.unfinished() == [(second, 1)]
    desk.records.start(second, 1)
    desk.records.complete(second, 1, RESULT)
    assert desk.enqueued.count((child, 1)) == 1


def test_those_that_wait_fail_with_the_one_that_they_wait_for_and_are_not_begun(desk: Desk) -> None:
    parent = desk.submit()
    child = desk.submit(parent)
    grandchild = desk.submit(child)
    desk.records.fail(parent, "no light", "world")
    desk.records.retry(parent, desk.key.account)
    assert desk.enqueued == [(parent, 1), (parent, 2)]
    for waited, on in ((child, parent), (grandchild, child)):
        found = desk.records.get(waited)
        assert (found.state, found.failure_reason) == ("failed", f"keyframes.frame0: generation {on} failed: no light")


def test_a_long_chain_of_waiting_generations_fails_in_one_commit(desk: Desk) -> None:
    desk.key, _ = desk.keys.create("no limit")
    ids = [desk.submit()]
    for _ in range(300):
        ids.append(desk.submit(ids[-1]))
    desk.records.fail(ids[0], "no", "fault")
    assert desk.records.count_by_state() == {"failed": 301}


def test_an_older_attempt_neither_ends_nor_goes_on_with_a_newer_one(desk: Desk) -> None:
    id = desk.submit()
    desk.records.start(id, 1)
    desk.records.fail(id, "cancelled", "cancelled")
    desk.records.retry(id, desk.key.account)
    assert desk.records.start(id, 1) is None
    assert not desk.records.fail(id, "the first fetch ended late", "world", attempt=1)
    assert desk.records.start(id, 2) is not None
    with pytest.raises(Cancelled):
        desk.records.report(id, 1, "render", 0.5)
    assert not desk.records.complete(id, 1, RESULT)
    assert desk.records.complete(id, 2, RESULT)


def test_what_no_worker_takes_up_is_begun_anew_as_another_attempt(desk: Desk) -> None:
    id = desk.submit()
    desk.records.start(id, 1)
    assert desk.records.begin_anew(id, 1)
    assert not desk.records.begin_anew(id, 1)
    assert desk.enqueued == [(id, 1), (id, 2)]
    found = desk.records.get(id)
    assert (found.state, found.attempt) == ("queued", 2)


def test_a_failed_deleted_or_foreign_parent_is_refused(desk: Desk) -> None:
    failed, deleted = desk.submit(), desk.submit()
    desk.records.fail(failed, "no light", "fault")
    desk.records.delete(deleted, desk.key.account)
    with pytest.raises(ConflictError, match=r"failed \(no light\)"):
        desk.submit(failed)
    with pytest.raises(ConflictError, match="deleted"):
        desk.submit(deleted)
    foreign = desk.submit()
    desk.key = replace(desk.key, account="another")
    with pytest.raises(UnknownError) as caught:
        desk.submit(foreign)
    assert caught.value.field == "keyframes.frame0.id"


def test_credits_are_spent_by_what_is_not_failed(desk: Desk) -> None:
    ids = [desk.submit(seconds=30) for _ in range(3)]
    with pytest.raises(CreditError, match="has 10 left"):
        desk.submit(seconds=30)
    desk.records.fail(ids[0], "no", "fault")
    desk.submit(seconds=30)
    assert desk.keys.usage(desk.key.id).credits == 90


def test_progress_of_a_cancelled_generation_stops_its_engine(desk: Desk) -> None:
    id = desk.submit()
    desk.records.start(id, 1)
    desk.records.report(id, 1, "render", 0.5)
    assert desk.records.get(id).progress == 0.5
    desk.records.fail(id, "cancelled", "cancelled")
    with pytest.raises(Cancelled):
        desk.records.report(id, 1, "render", 0.6)
    assert not desk.records.complete(id, 1, RESULT)
    assert desk.records.start(id, 1) is None


def test_a_retry_is_a_new_attempt(desk: Desk) -> None:
    id = desk.submit()
    with pytest.raises(ConflictError, match="is queued"):
        desk.records.retry(id, desk.key.account)
    desk.records.fail(id, "no", "world")
    again = desk.records.retry(id, desk.key.account)
    assert (again.state, again.attempt, again.failure_reason) == ("queued", 2, None)
    assert desk.enqueued[-1] == (id, 2)


ACTIONS = ("start", "report", "complete", "fail", "retry")
# What may follow what, written down a second time: not read from the table under test.
AFTER = {
    "queued": {"start": "dreaming", "fail": "failed"},
    "dreaming": {"start": "dreaming", "report": "dreaming", "complete": "completed", "fail": "failed"},
    "completed": {},
    "failed": {"retry": "queued"},
}


@given(st.lists(st.sampled_from(ACTIONS), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_states_move_only_as_they_may(desk: Desk, actions: list[str]) -> None:
    desk.key, _ = desk.keys.create("no limit")
    id, state, attempt = desk.submit(), "queued", 1
    for action in actions:
        try:
            match action:
                case "start":
                    desk.records.start(id, attempt)
                case "report":
                    desk.records.report(id, attempt, "render", 0.5)
                case "complete":
                    desk.records.complete(id, attempt, RESULT)
                case "fail":
                    desk.records.fail(id, "no", "fault")
                case "retry":
                    attempt = desk.records.retry(id, desk.key.account).attempt
        except (Cancelled, ConflictError):
            pass
        state = AFTER[state].get(action, state)
        assert desk.records.get(id).state == state


def test_a_result_survives_the_database(desk: Desk) -> None:
    id = desk.submit()
    desk.records.start(id, 1)
    desk.records.complete(id, 1, RESULT)
    found = desk.records.get(id)
    assert found.result == RESULT
    assert found.extent is not None
    assert found.extent.num_frames == 24


def test_a_watcher_hears_of_a_change_made_elsewhere(desk: Desk) -> None:
    heard: list[Change] = []
    arrived, stop = threading.Event(), threading.Event()
    changes = Changes(open_database(desk.url))

    def tell(batch: list[Change]) -> None:
        heard.extend(batch)
        arrived.set()

    watcher = threading.Thread(target=changes.watch, args=(tell, stop), kwargs={"after": 0})
    watcher.start()
    try:
        id = desk.submit()
        while not heard:
            assert arrived.wait(5)
    finally:
        stop.set()
        watcher.join()
    assert (heard[0].generation_id, heard[0].type) == (id, "generation.updated")
    assert changes.after(heard[0].id - 1, generation_id=id) == heard[:1]
    changes.close()


def test_a_key_opens_until_it_is_revoked_and_its_secret_is_not_stored(desk: Desk) -> None:
    key, secret = desk.keys.create("mine")
    assert desk.keys.check(secret).id == key.id
    desk.keys.revoke(key.id)
    with pytest.raises(AuthError):
        desk.keys.check(secret)
    with pytest.raises(UnknownError):
        desk.keys.revoke(key.id)
    with desk.engine.begin() as connection:
        stored = repr(connection.execute(sa.select(keys)).all())
    assert secret not in stored
    assert "mine" in stored


def test_what_the_database_refuses_is_told_without_its_values(desk: Desk) -> None:
    desk.keys.create("a-name-that-is-nobodys-business", secret="x" * 20)
    with pytest.raises(sa.exc.IntegrityError) as caught:
        desk.keys.create("a-name-that-is-nobodys-business", secret="x" * 20)
    assert "nobodys-business" not in str(caught.value)


def test_a_given_key_is_made_once_and_refused_once_it_is_revoked(desk: Desk) -> None:
    key = desk.keys.ensure("a-given-secret-0123456789")
    assert desk.keys.ensure("a-given-secret-0123456789") == key
    desk.keys.revoke(key.id)
    with pytest.raises(AuthError, match="revoked"):
        desk.keys.ensure("a-given-secret-0123456789")


def test_an_upload_survives_the_database(desk: Desk) -> None:
    extent = Extent(VideoFormat(64, 48, Fraction(30000, 1001)), 24)
    for id, known in (("a", extent), ("b", None)):
        upload = Upload(id, "default", "video", f"uploads/{id}.video", 64, 48, 0.8, 29.97, 1000, "00", 1.0, known)
        desk.records.add_upload(upload)
        assert desk.records.get_upload(id, "default") == upload


def test_migrations_lead_to_the_tables(desk: Desk) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def is_ours(_o: object, name: str | None, type_: str, _r: object, _c: object) -> bool:
        return type_ != "table" or name in metadata.tables

    with desk.engine.begin() as connection:
        options = {"compare_type": True, "include_object": is_ours, "version_table": "longtake_version"}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_several_that_migrate_at_once_make_the_tables_once(empty_database_url: str) -> None:
    engines = [open_database(empty_database_url) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, engines))
    assert set(sa.inspect(engines[0]).get_table_names()) == {*metadata.tables, "longtake_version"}
    for engine in engines:
        engine.dispose()


def test_what_was_ordered_before_limits_came_counts_from_when_it_was_made(empty_database_url: str) -> None:
    from alembic import command
    from alembic.config import Config

    engine, config = open_database(empty_database_url), Config()
    config.set_main_option("script_location", "longtake.records:migrations")
    config.set_main_option("path_separator", "os")
    given: dict[str, object] = {"id": "a", "account": "default", "key_id": "k", "wire": "native", "request": "{}"}
    given |= {"order": "{}"}
    given |= {"engine": "motion", "credits": 5.0, "state": "completed", "stage": "completed", "progress": 1.0}
    given |= {"attempt": 1, "created_at": time.time() - 3600, "updated_at": 0.0}
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        names, places = ", ".join(f'"{name}"' for name in given), ", ".join(f":{name}" for name in given)
        connection.execute(sa.text(f"INSERT INTO generations ({names}) VALUES ({places})"), given)
    migrate(engine)
    used = Keys(engine).usage("k")
    engine.dispose()
    assert (used.credits, used.seconds_per_day) == (5.0, 5.0)


def test_a_forgotten_upload_is_gone_for_its_account_alone(desk: Desk) -> None:
    upload = Upload("a", "default", "image", "uploads/a.png", 64, 48, None, None, 1000, "00", 1.0)
    desk.records.add_upload(upload)
    assert desk.records.forget_upload("a", "another") is None
    assert desk.records.forget_upload("a", "default") == upload
    assert desk.records.find_upload("a", "default") is None


def test_two_writers_never_see_a_locked_database(desk: Desk) -> None:
    errors: list[DatabaseError] = []
    desk.key, _ = desk.keys.create("no limit")

    def write() -> None:
        records = Records(open_database(desk.url), lambda *_: None)
        try:
            for _ in range(20):
                id = desk.submit()
                records.start(id, 1)
                records.report(id, 1, "render", 0.5)
        except DatabaseError as error:
            errors.append(error)
        records.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with desk.engine.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(generations)).scalar_one() == 80


def test_what_turns_out_longer_than_it_was_taken_for_costs_what_it_is(desk: Desk) -> None:
    desk.key, _ = desk.keys.create("poor", limit=20)
    desk.submit(seconds=8)
    id = desk.submit(seconds=5)
    desk.records.start(id, 1)
    for credits in (12.0, 2.5, 12.0):
        desk.records.charge(id, 1, credits)
        assert desk.records.get(id).credits == credits
        assert desk.keys.usage(desk.key.id).credits == 8 + credits
    with pytest.raises(CreditError, match=r"this costs 12\.5 credits, and the key has 12 left"):
        desk.records.charge(id, 1, 12.5)
    assert desk.records.get(id).credits == 12


def test_what_turns_out_to_be_long_is_held_to_the_seconds_of_a_day_too(desk: Desk) -> None:
    id = desk.submit()
    desk.records.start(id, 1)
    desk.records.charge(id, 1, 9.0, Limits(seconds_per_day=10))
    with pytest.raises(CreditError, match="10 s a day"):
        desk.records.charge(id, 1, 11.0, Limits(seconds_per_day=10))
    assert desk.records.get(id).credits == 9


def test_what_was_taken_back_is_not_charged(desk: Desk) -> None:
    id = desk.submit()
    desk.records.start(id, 1)
    desk.records.fail(id, "cancelled", "cancelled")
    with pytest.raises(Cancelled):
        desk.records.charge(id, 1, 90.0)
    assert desk.records.get(id).credits == 5


def test_an_edit_that_has_ended_shares_nothing_with_what_it_was_made_of(desk: Desk) -> None:
    parent = desk.submit()
    desk.records.start(parent, 1)
    desk.records.complete(parent, 1, RESULT)
    assert not desk.records.was_extended(parent)
    larger = desk.submit(parent, edit=Upscale(96))
    assert desk.records.was_extended(parent)
    desk.records.start(larger, 1)
    desk.records.complete(larger, 1, RESULT)
    assert not desk.records.was_extended(parent)
    desk.records.fail(desk.submit(parent), "no", "fault")
    assert desk.records.was_extended(parent)

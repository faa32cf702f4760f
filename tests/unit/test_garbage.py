"""What no timeline and no record needs is removed, and nothing else: asked of records and stores, without pictures."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing

import pytest
import sqlalchemy as sa
from dbos import DBOSClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longtake import garbage
from longtake.errors import ConflictError
from longtake.garbage import DAY_SECONDS, Ages, Collector
from longtake.records import Keys, Turn
from longtake.records.needed import Needs, ids_in
from longtake.records.tables import creates, events, generations, metadata, parents
from longtake.store import Store
from longtake.store.memory import Memory
from longtake.workflows import Workflows, database_address, migrate_workflows, names
from longtake.workflows.history import History
from tests.yard import AT_ONCE, Played, Yard


@pytest.fixture
def yard(database_url: str) -> Iterator[Yard]:
    yard = Yard(database_url, Store.in_memory())
    yield yard
    yard.close()


def done(yard: Yard, *parents: str, upload: str | None = None) -> str:
    id = yard.create(*parents, upload=upload)
    yard.begin(id)
    yard.complete(id)
    return id


def stays(yard: Yard) -> None:
    """What is needed is there, and nothing else, and a second round finds nothing."""
    needed = yard.needed()
    yard.collect()
    assert yard.stored() == needed
    assert yard.collect().is_empty()


def test_of_a_finished_one_what_its_result_names_stays_and_what_its_runs_left_goes(yard: Yard) -> None:
    id = done(yard)
    yard.export(id)
    report = yard.collect()
    assert {kind: tally.num for kind, tally in report.objects.items()} == {"segments": 2, "live": 1, "stills": 1}
    assert report.objects["segments"].num_bytes == 16
    stays(yard)


def test_a_chain_and_a_bridge_stay_whole_in_whatever_order_they_are_deleted(yard: Yard) -> None:
    upload = yard.upload()
    for order in list(itertools.permutations(range(4)))[::5]:
        first = done(yard, upload=upload)
        second = done(yard, first)
        other = done(yard)
        bridge = done(yard, second, other)
        for number in order:
            yard.delete((first, second, other, bridge)[number])
            stays(yard)
        assert {key.partition("/")[0] for key in yard.stored()} == {"uploads", "sources"}


def test_a_deleted_parent_is_whole_for_as_long_as_a_child_runs(yard: Yard) -> None:
    grandparent = done(yard)
    parent = done(yard, grandparent)
    child = yard.create(parent)
    yard.delete(grandparent)
    yard.delete(parent)
    stays(yard)
    assert yard.played[parent].named <= yard.stored()
    yard.begin(child)
    stays(yard)
    yard.complete(child)
    stays(yard)
    assert f"segments/{grandparent}/1-1.mp4" in yard.stored()
    assert f"videos/{grandparent}/1-1.mp4" not in yard.stored()


def test_an_attempt_that_failed_leaves_nothing_and_the_next_one_is_left_alone(yard: Yard) -> None:
    id = yard.create()
    yard.begin(id)
    stays(yard)
    yard.fail(id)
    stays(yard)
    assert yard.stored() == set()
    yard.retry(id)
    yard.begin(id)
    stays(yard)
    yard.complete(id)
    stays(yard)
    assert f"segments/{id}/2-1.mp4" in yard.stored()


def test_what_was_put_a_moment_ago_stays_though_nobody_names_it(yard: Yard) -> None:
    yard.store.put(f"uploads/{uuid.uuid4()}.png", b"1")
    assert yard.collect(ages=Ages()).is_empty()
    assert len(yard.stored()) == 1
    assert yard.collect(ages=Ages(), now=time.time() + 3700).objects["uploads"].num == 1


def test_an_upload_that_was_kept_but_not_recorded_goes_unless_it_came_in_parts(yard: Yard) -> None:
    lost, in_parts, whole = str(uuid.uuid4()), yard.begin_upload(), yard.upload()
    yard.store.put(f"uploads/{lost}.video", b"1")
    yard.store.put(f"uploads/{in_parts}.video", b"1")
    yard.collect()
    assert yard.stored() == {f"uploads/{in_parts}.video", f"uploads/{whole}.video"}


def test_of_an_upload_that_two_brought_at_once_only_the_one_that_is_recorded_stays(yard: Yard) -> None:
    upload = yard.upload()
    first, second = yard.create(upload=upload), yard.create(upload=upload)
    yard.begin(first)
    yard.begin(second)
    late = f"sources/{upload}/{second}-1-1.mp4"
    yard.store.put(late, b"late")
    yard.played[second].put.add(late)
    stays(yard)
    assert late in yard.stored()
    for id in (second, first):
        yard.complete(id)
    stays(yard)
    assert late not in yard.stored()


def test_names_of_earlier_versions_are_understood(yard: Yard) -> None:
    id, upload, gone = done(yard), yard.upload(), str(uuid.uuid4())
    kept = [f"sources/{upload}{end}" for end in (".mp4", ".json", "-sound.mp4")] + [f"exports/{id}.webm"]
    left = [f"segments/{gone}-take2.mp4", f"sources/{gone}-match/frame0-0.mp4", f"live/{gone}/00001.mp4"]
    for key in (*kept, *left, f"segments/{id}-tail.mp4", f"live/{id}.json"):
        yard.store.put(key, b"1")
    yard.collect()
    assert yard.stored() == {*yard.needed(), *kept}


def test_a_key_that_is_none_of_ours_is_left_alone(yard: Yard) -> None:
    for key in ("backup/yesterday.mp4", "segments/clip.mp4", f"backup/{uuid.uuid4()}.mp4"):
        yard.store.put(key, b"1")
        assert ids_in(key) == []
    report = yard.collect()
    assert (report.num_seen, report.num_strange, report.is_empty()) == (3, 3, True)
    assert len(yard.stored()) == 3


def test_a_dry_run_changes_nothing_and_says_what_the_real_one_does(yard: Yard) -> None:
    old = time.time() + 100 * DAY_SECONDS
    first = done(yard)
    child = done(yard, first)
    yard.delete(child)
    before = yard.dump()
    told = yard.collect(dry_run=True, now=old)
    assert yard.dump() == before
    assert yard.collect(dry_run=True, now=old) == told
    assert yard.collect(now=old) == told
    assert (told.generations, told.events) != (0, 0)
    assert yard.dump() != before


def test_no_more_than_a_page_of_keys_is_held(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(Needs):
        def of(self, wanted: Collection[str]) -> set[str]:
            asked.append(len(wanted))
            return super().of(wanted)

    monkeypatch.setattr(garbage, "PAGE", 5)
    yard.needs = Counting(yard.engine)
    for number in range(4):
        id = done(yard)
        if number % 2:
            yard.delete(id)
    needed = yard.needed()
    num = len(yard.stored())
    yard.collect()
    assert yard.stored() == needed
    assert sum(asked) == num
    assert max(asked) == 5


def test_what_the_store_does_not_delete_is_counted_and_the_rest_goes(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.delete(done(yard))
    delete, asked = Memory.delete, list[int]()

    def refuse(place: Memory, keys: Sequence[str]) -> None:
        asked.append(len(keys))
        if any(key.startswith("live/") for key in keys):
            raise OSError(f"could not delete {keys}")
        delete(place, keys)

    monkeypatch.setattr(Memory, "delete", refuse)
    num = len(yard.stored())
    report = yard.collect()
    assert asked == [num, *[1] * num]
    assert report.num_stuck == 1
    assert sum(tally.num for tally in report.objects.values()) == num - 1
    assert "live" not in report.objects
    assert [key.partition("/")[0] for key in yard.stored()] == ["live"]


def test_a_page_of_what_goes_takes_one_request(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, asked = Memory.delete, list[int]()

    def count(place: Memory, keys: Sequence[str]) -> None:
        asked.append(len(keys))
        delete(place, keys)

    for _ in range(3):
        yard.delete(done(yard))
    num = len(yard.stored())
    monkeypatch.setattr(Memory, "delete", count)
    assert yard.collect(dry_run=True).num_stuck == 0
    assert asked == []
    yard.collect()
    assert asked == [num]
    assert yard.stored() == set()


def test_two_do_not_run_at_once_and_the_second_one_does_when_the_first_is_gone(yard: Yard) -> None:
    refused: list[str] = []

    def second() -> None:
        with closing(Yard(yard.engine.url.render_as_string(hide_password=False), yard.store)) as other:
            try:
                other.collect()
            except ConflictError as error:
                refused.append(error.message)

    with yard.needs.alone():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert refused == ["another longtake gc runs: wait for it to end"]
    second()
    assert len(refused) == 1


def test_of_old_events_each_generations_last_one_stays(yard: Yard) -> None:
    ended, running = done(yard), yard.create()
    yard.begin(running)
    report = yard.collect(ages=Ages(objects=0.0, events=-60.0))
    with yard.engine.connect() as connection:
        left = connection.execute(sa.select(events.c.generation_id, events.c.type).order_by(events.c.id)).all()
    assert [type for id, type in left if id == ended] == ["generation.completed"]
    assert len([id for id, _ in left if id == running]) == 2
    assert report.events == 2


def test_generations_that_were_deleted_long_ago_go_children_first(yard: Yard) -> None:
    first = done(yard)
    second = done(yard, first)
    third = done(yard, second)
    living = done(yard, second)
    for id in (first, second, third):
        yard.delete(id)
    assert yard.collect(now=time.time() + 29 * DAY_SECONDS).generations == 0
    assert yard.collect(now=time.time() + 31 * DAY_SECONDS).generations == 1
    with yard.engine.connect() as connection:
        assert set(connection.execute(sa.select(generations.c.id)).scalars()) == {first, second, living}
        assert third not in set(connection.execute(sa.select(events.c.generation_id)).scalars())
        assert third not in set(connection.execute(sa.select(parents.c.child_id)).scalars())
    yard.delete(living)
    assert yard.collect(now=time.time() + 31 * DAY_SECONDS).generations == 3
    stays(yard)


def test_what_a_key_has_paid_for_stays_paid(yard: Yard) -> None:
    yard.key = Keys(yard.engine).create("limited", limit=10)[0]
    paid = done(yard)
    failed = yard.create()
    yard.fail(failed)
    for id in (paid, failed):
        yard.delete(id)
    assert yard.collect(now=time.time() + 31 * DAY_SECONDS).generations == 1
    assert Keys(yard.engine).usage(yard.key.id).credits == 1.0


def test_creates_that_can_not_come_again_are_forgotten(yard: Yard) -> None:
    now = time.time()
    with yard.engine.begin() as connection:
        for account, name, age in (("a", "x", 2 * DAY_SECONDS), ("b", "x", 0.0), ("b", "y", 2 * DAY_SECONDS)):
            row = {"account": account, "digest": "", "generation_id": "", "is_retry": False}
            connection.execute(sa.insert(creates).values(name=name, created_at=now - age, **row))
    assert yard.collect().creates == 2
    with yard.engine.connect() as connection:
        assert connection.execute(sa.select(creates.c.account, creates.c.name)).all() == [("b", "x")]


MOVES = ("create", "extend", "bridge", "bring", "begin", "complete", "fail", "retry", "delete", "collect")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 7), st.integers(0, 7)), max_size=40))
def test_whatever_is_done_what_is_needed_stays_and_the_rest_goes(yard: Yard, moves: list[tuple[str, int, int]]) -> None:
    with yard.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sa.delete(table))
    yard.store, yard.played, yard.uploads = Store.in_memory(), {}, {}
    yard.key = Keys(yard.engine).create("test")[0]
    for move, one, other in moves:
        play(yard, move, one, other)
        assert yard.needed() <= yard.stored()
    stays(yard)
    finish(yard)
    stays(yard)


def play(yard: Yard, move: str, one: int, other: int) -> None:
    """The move, where there is something to make it with."""
    if move == "create":
        yard.create()
    elif move == "bring":
        uploads = list(yard.uploads)
        yard.create(upload=uploads[one % len(uploads)] if uploads and other % 2 else yard.upload())
    elif move == "collect":
        stays(yard) if one % 2 else yard.collect(now=time.time() + 31 * DAY_SECONDS, ages=AT_ONCE)
    elif ids := movable(yard, move):
        id = ids[one % len(ids)]
        if move == "bridge":
            yard.create(id, ids[other % len(ids)])
        else:
            do: dict[str, Callable[[str], object]] = {
                "extend": yard.create,
                "begin": yard.begin,
                "complete": yard.complete,
                "fail": yard.fail,
            }
            (do | {"retry": yard.retry, "delete": yard.delete})[move](id)


def movable(yard: Yard, move: str) -> list[str]:
    """The generations with which this can be done."""
    able = {
        id: not one.is_deleted and all(not yard.played[each].is_deleted for each in one.parents)
        for id, one in yard.played.items()
    }
    may: dict[str, Callable[[Played], bool]] = {
        "extend": lambda one: one.state != "failed" and not one.is_deleted,
        "begin": lambda one: one.state == "queued" and waits_for_none(yard, one.parents),
        "complete": lambda one: one.state == "dreaming",
        "fail": lambda one: one.state in {"queued", "dreaming"},
        "retry": lambda one: one.state == "failed" and able[one.id] and all(map(is_usable, one.parents)),
        "delete": lambda one: not one.is_deleted,
    }

    def is_usable(id: str) -> bool:
        return yard.played[id].state != "failed"

    return [id for id, one in yard.played.items() if may["extend" if move == "bridge" else move](one)]


def finish(yard: Yard) -> None:
    """All that still runs is finished."""
    while running := [each for each in yard.played.values() if each.state in {"queued", "dreaming"}]:
        for each in running:
            if each.state == "queued" and waits_for_none(yard, each.parents):
                yard.begin(each.id)
            if each.state == "dreaming":
                yard.complete(each.id)


def waits_for_none(yard: Yard, ids: tuple[str, ...]) -> bool:
    return all(yard.played[id].state == "completed" for id in ids)


def test_an_id_stands_in_each_name_that_a_run_gives() -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    assert ids_in(f"sources/{one}/{other}-1-2.mp4") == [one, other]
    assert ids_in(f"live/{one}/12-3-00007.mp4") == [one]


@pytest.fixture
def workflows(yard: Yard) -> Iterator[tuple[Workflows, History, DBOSClient]]:
    url = yard.engine.url.render_as_string(hide_password=False)
    migrate_workflows(url)
    made = Workflows(url), History(url)
    client = DBOSClient(system_database_url=database_address(url))
    yield *made, client
    for each in made:
        each.close()
    client.destroy()


def test_workflows_that_ended_long_ago_go_unless_their_generation_has_not_ended(
    yard: Yard, workflows: tuple[Workflows, History, DBOSClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    flows, history, client = workflows
    monkeypatch.setattr(garbage, "PAGE", 2)
    ended, running = [done(yard) for _ in range(4)], yard.create()
    with yard.engine.begin() as connection:
        for id in (*ended, running):
            flows.enqueue(connection, Turn(id, 1, "motion", "default", 0))
        flows.enqueue(connection, Turn(ended[0], 2, "motion", "default", 0))
        flows.enqueue_webhook(connection, 7, 1, 0.0, "default")
    stay = {f"{running}.1", f"{ended[0]}.2"}
    gone = {f"{id}.1" for id in ended} | {"webhook.7.1"}
    client.cancel_workflows([*gone, f"{running}.1"])

    def collect(*, dry_run: bool = False, ages: Ages) -> int:
        return Collector(yard.records, yard.needs, yard.store, history, ages, dry_run=dry_run).run().workflows

    assert collect(ages=Ages()) == 0
    soon = Ages(workflows=-60.0)
    assert collect(dry_run=True, ages=soon) == 5
    assert {each.workflow_id for each in client.list_workflows()} == stay | gone
    assert collect(ages=soon) == 5
    assert {each.workflow_id for each in client.list_workflows()} == stay
    assert collect(ages=soon) == 0


def test_workflows_of_an_earlier_version_go_once_their_generation_has_ended(
    yard: Yard, workflows: tuple[Workflows, History, DBOSClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    flows, history, client = workflows
    ended, running = done(yard), yard.create()
    with yard.engine.begin() as connection, monkeypatch.context() as patch:
        patch.setattr(names, "VERSION", "4")
        for id in (ended, running):
            flows.enqueue(connection, Turn(id, 1, "motion", "default", 0))
    with yard.engine.begin() as connection:
        flows.enqueue(connection, Turn(ended, 2, "motion", "default", 0))
    for num_gone in (1, 0):
        report = Collector(yard.records, yard.needs, yard.store, history, Ages(workflows=-60.0)).run()
        assert report.workflows == num_gone
    assert {each.workflow_id for each in client.list_workflows()} == {f"{running}.1", f"{ended}.2"}


def test_pieces_of_uploads_that_are_forgotten_go_from_a_store_that_is_shared(yard: Yard) -> None:
    yard.store.is_shared = True
    known, gone = yard.begin_upload(), str(uuid.uuid4())
    for id in (known, gone):
        yard.store.put(f"partial/{id}/{0:015}-{8:015}-{uuid.uuid4().hex}", b"12345678")
    assert yard.collect().objects["partial"].num == 1
    assert [key.split("/")[1] for key in yard.store.keys("partial")] == [known]

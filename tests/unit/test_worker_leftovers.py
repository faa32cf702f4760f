"""What an attempt without a result has rendered is removed; what another attempt or a finished video needs is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from longtake import bringing
from longtake.errors import FaultError, StoreError, WorldError
from longtake.footage import Run
from longtake.lost import sweep
from longtake.orders import KeyFrame, Order
from longtake.records import Key, WebhookRecords
from longtake.store import Listed, Store
from longtake.workflows import Workflows
from tests.stage import FREEZE, ON, Dead, Stage, Steps


def made(stage: Stage) -> list[str]:
    """All that rendering and joining have put into the store."""
    return sorted(key for folder in ("segments", "videos", "images") for key in stage.rig.store.keys(folder))


def test_a_cancel_in_the_second_take_leaves_no_segment(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Order(seed=FREEZE, takes=3))

    def cancel(seed: int) -> None:
        if seed == ON:
            assert stage.segments() == [f"segments/{stage.id}/1-1.mp4"]
            assert stage.rig.records.fail(stage.id, "cancelled", "cancelled")

    stage.engine.after = cancel
    stage.worker.run(stage.id, 1, 1, Steps())
    assert stage.generation.failure_kind == "cancelled"
    assert made(stage) == []


@pytest.mark.parametrize("error", [WorldError("no answer"), FaultError("wrong"), ZeroDivisionError()])
def test_a_failure_in_the_second_take_leaves_no_segment(tmp_path: Path, error: Exception) -> None:
    stage = Stage(tmp_path, Order(seed=FREEZE, takes=3))

    def fail(seed: int) -> None:
        if seed == ON:
            raise error

    stage.engine.after = fail
    stage.worker.run(stage.id, 1, 1, Steps())
    assert stage.generation.state == "failed"
    assert made(stage) == []


@pytest.mark.parametrize("dies_at", ["measure take 2", "splice", "poster"])
def test_a_cancel_while_no_worker_lives_leaves_nothing_once_one_does(tmp_path: Path, dies_at: str) -> None:
    stage, steps = Stage(tmp_path, Order(seed=FREEZE, takes=2)), Steps()
    steps.dies_at = dies_at
    with pytest.raises(Dead):
        stage.worker.carry_out(Run(stage.id, 1), steps)
    assert made(stage)
    stage.rig.records.fail(stage.id, "cancelled", "cancelled")
    stage.worker.run(stage.id, 1, 1, steps)
    assert made(stage) == []


def test_a_cancel_at_the_last_moment_leaves_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, Order(seed=ON))
    complete = stage.rig.records.complete

    def too_late(*given: object) -> bool:
        assert len(made(stage)) == 3
        stage.rig.records.fail(stage.id, "cancelled", "cancelled")
        return complete(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(stage.rig.records, "complete", too_late)
    stage.worker.run(stage.id, 1, 1, Steps())
    assert made(stage) == []


def test_an_older_attempt_leaves_the_newer_ones_segments_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Order(seed=FREEZE, takes=2))
    newer = Steps()

    def retry(seed: int) -> None:
        stage.engine.after = lambda seed: None
        stage.rig.records.fail(stage.id, "cancelled", "cancelled")
        stage.rig.records.retry(stage.id, "default")
        newer.dies_at = "measure take 2"
        with pytest.raises(Dead):
            stage.worker.carry_out(Run(stage.id, 2), newer)

    stage.engine.after = retry
    stage.worker.run(stage.id, 1, 1, Steps())
    assert len(stage.segments()) == 2
    newer.dies_at = ""
    stage.worker.run(stage.id, 2, 1, newer)
    assert stage.generation.state == "completed"
    assert stage.engine.rendered == [FREEZE, FREEZE, ON]


def test_a_finished_one_that_is_run_again_keeps_all_that_it_made(tmp_path: Path) -> None:
    stage, steps = Stage(tmp_path, Order(seed=FREEZE, takes=2)), Steps()
    stage.worker.run(stage.id, 1, 1, steps)
    kept = made(stage)
    stage.worker.run(stage.id, 1, 1, steps)
    assert made(stage) == kept
    assert len(kept) == 3


def test_one_that_was_deleted_while_it_was_rendered_leaves_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Order(seed=ON))

    def delete(_: int) -> None:
        stage.rig.records.delete(stage.id, "default")

    stage.engine.after = delete
    stage.worker.run(stage.id, 1, 1, Steps())
    assert made(stage) == []


def test_a_store_that_refuses_to_delete_does_not_hide_why_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, Order(seed=ON))

    def fail(seed: int) -> None:
        raise WorldError("no answer")

    refused: list[str] = []

    def refuse(_: Store, keys: Iterable[str]) -> None:
        refused.extend(keys)
        raise StoreError("could not delete objects", retryable=True)

    monkeypatch.setattr(Store, "delete_many", refuse)
    stage.engine.after = fail
    stage.worker.run(stage.id, 1, 1, Steps())
    assert stage.generation.failure_reason == "no answer"
    assert refused


def asked_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store is asked when something is cleaned up: each listing by its kind, each request to delete."""
    asked: list[str] = []
    listed, delete_many = Store.listed, Store.delete_many

    def note_listing(store: Store, prefix: str = "") -> Iterator[Listed]:
        asked.append(prefix.partition("/")[0])
        return listed(store, prefix)

    def note_deletion(store: Store, keys: Iterable[str]) -> None:
        asked.append("delete")
        delete_many(store, keys)

    monkeypatch.setattr(Store, "listed", note_listing)
    monkeypatch.setattr(Store, "delete_many", note_deletion)
    return asked


def test_the_first_run_that_comes_to_its_end_leaves_what_its_record_names_and_looks_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, run = Store.in_memory(), Run("id")
    kept = {run.key("videos", ".mp4"), run.key("images", ".jpg"), run.segment(1), run.again[0], run.matched("b-0")}
    gone = {run.part(0), run.part(1), run.sound(0), run.again[1], run.matched("a-0")}
    gone |= {run.key("live", ".json"), run.key("live", "-00000.mp4"), *map(run.still, ("frame0", "frame1"))}
    others = {Run("id", 1, 2).segment(), "segments/other/1-1.mp4", "sources/up/id-1-1.mp4"}
    for key in kept | gone | others:
        store.put(key, b"x")
    asked = asked_of(monkeypatch)
    run.forget(store, kept | {"segments/parent/1-1.mp4"})
    assert asked == ["segments", "sources", "live", "delete"]
    assert set(store.keys()) == kept | others


@pytest.mark.parametrize(("run", "named"), [(Run("id", 1, 2), Run("id", 1, 2)), (Run("id"), Run("id", 1, 2))])
def test_where_more_than_one_run_made_something_all_kinds_are_looked_at(
    run: Run, named: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, first = Store.in_memory(), Run("id")
    for key in (first.key("videos", ".mp4"), first.key("images", ".jpg"), first.still("frame0"), first.segment()):
        store.put(key, b"x")
    kept = {named.key("videos", ".mp4"), named.segment()}
    for key in kept:
        store.put(key, b"x")
    asked = asked_of(monkeypatch)
    run.forget(store, kept)
    assert asked == ["segments", "videos", "images", "stills", "sources", "live", "delete"]
    assert set(store.keys()) == kept


def test_an_image_from_an_address_is_kept_where_it_is_looked_for_when_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, Order(seed=ON))

    def fetch(fetcher: object, url: str, path: Path, look: object) -> None:
        path.write_bytes(image)

    image = bytes(cv2.imencode(".png", np.full((96, 160, 3), 90, np.uint8))[1])
    monkeypatch.setattr(bringing, "fetch_patiently", fetch)
    for end in ("frame0", "frame1"):
        frame = KeyFrame(type="image", url="http://127.0.0.1/a.png")
        brought = stage.worker._bringing.bring(Run(stage.id), stage.generation, end, frame, lambda *_: None)
        assert brought["still"]["key"] == Run(stage.id).still(end)


class Lost(Workflows):
    """Says of each that its workflow has come to this end."""

    def __init__(self, why: str) -> None:
        self._why = why

    def lost(self, unfinished: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, str]]:
        return ((id, attempt, self._why) for id, attempt in unfinished)

    def lost_webhooks(self, waiting: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
        return ((number, turn, "MISSING") for number, turn in waiting)


@pytest.mark.parametrize(("why", "state", "num_left"), [("ERROR", "failed", 0), ("OUTDATED", "queued", 1)])
def test_the_sweep_removes_what_a_lost_one_rendered_unless_it_is_begun_anew(
    tmp_path: Path, why: str, state: str, num_left: int
) -> None:
    stage, steps = Stage(tmp_path, Order(seed=ON)), Steps()
    steps.dies_at = "measure"
    with pytest.raises(Dead):
        stage.worker.carry_out(Run(stage.id, 1), steps)
    sweep(stage.rig.records, Lost(why), stage.rig.store)
    assert (stage.generation.state, len(made(stage))) == (state, num_left)


def test_a_sweep_goes_on_where_a_folder_or_an_object_can_not_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To what else was lost, webhooks included."""
    stage = Stage(tmp_path, Order(seed=ON, callback_url="http://127.0.0.1/told"))
    stage.rig.records.start(stage.id, 1)
    key = Key("key-1", "default", "", None, 0.0, None)
    other = stage.rig.service.submit(key, Order(prompt="x"), wire="native", request={}, base_url="http://here.example")
    begun, refused = list[int](), list[str]()

    def no_folder(_: Store) -> None:
        raise PermissionError(13, "no")

    def refuse(_: Store, keys: Iterable[str]) -> None:
        refused.extend(keys)
        raise StoreError("could not delete objects", retryable=True)

    monkeypatch.setattr(Store, "sweep_work", no_folder)
    monkeypatch.setattr(Store, "delete_many", refuse)
    monkeypatch.setattr(WebhookRecords, "begin_anew", lambda _, number, turn: begun.append(number))
    stage.rig.store.put(f"segments/{stage.id}/1-1.mp4", b"x")
    sweep(stage.rig.records, Lost("ERROR"), stage.rig.store)
    assert {stage.rig.records.get(id).state for id in (stage.id, other.id)} == {"failed"}
    assert refused == [f"segments/{stage.id}/1-1.mp4"]
    assert begun == [1]

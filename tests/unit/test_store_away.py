"""A store that does not answer: a cancel is heard nevertheless, and frees its slot."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from longtake import footage, watching
from longtake.edits import Editing
from longtake.errors import Cancelled, StoreError
from longtake.footage import Footage, Run, Telling, meanwhile, put_away
from longtake.media.encode import encode
from longtake.orders import KeyFrame, Order, Reframe
from longtake.planning import Capabilities, plan
from longtake.scene import Scene
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from longtake.watching import Live
from tests.footage import moving
from tests.stage import ON, Stage, Steps

ENOUGH_SECONDS = 10.0
"""Whoever waits for the store, and not for what it is told, waits so long, and the test fails."""


@dataclass
class Away:
    """Stands between all and the store: what is put under such a key, or is deleted, waits until it is back."""

    part: str
    begun: Callable[[], object] = lambda: None
    """Called as such a wait begins."""
    back: threading.Event = field(default_factory=threading.Event)
    arrived: list[str] = field(default_factory=list)
    """What has waited to its end."""
    ended: threading.Event = field(default_factory=threading.Event)

    def around(self, name: str) -> Callable[..., Any]:
        called = getattr(Store, name)

        def waiting(store: Store, key: Any, *rest: Any) -> Any:
            if self.part not in key:
                return called(store, key, *rest)
            self.begun()
            self.back.wait(ENOUGH_SECONDS)
            self.arrived.append(key)
            try:
                return called(store, key, *rest)
            finally:
                self.ended.set()

        return waiting


Leave = Callable[..., Away]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Leave]:
    made: list[Away] = []

    def leave(*names: str, part: str, begun: Callable[[], object] = lambda: None) -> Away:
        made.append(Away(part, begun))
        for name in names:
            monkeypatch.setattr(Store, name, made[-1].around(name))
        return made[-1]

    yield leave
    for one in made:
        one.back.set()
        assert one.ended.wait(ENOUGH_SECONDS)


def cancel() -> NoReturn:
    raise Cancelled("cancelled")


def test_a_cancel_is_heard_while_a_small_file_is_put(tmp_path: Path, away: Leave) -> None:
    store = Store.in_folder(tmp_path / "store")
    (tmp_path / "a").write_bytes(b"few")
    gone = away("put_file", part="segments/")
    with pytest.raises(Cancelled):
        put_away(store, "segments/a/1-1.mp4", tmp_path / "a", cancel)
    assert gone.arrived == []


@pytest.mark.parametrize("part", ["/1-1.mp4", "live/", "-00000.mp4", "images/", "videos/"])
def test_a_cancel_frees_the_slot_while_the_store_does_not_answer(
    tmp_path: Path, part: str, away: Leave, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, Order(seed=ON))
    monkeypatch.setattr(stage.worker, "_report_seconds", 0.0)
    gone = away("put", "put_file", part=part, begun=lambda: stage.rig.records.fail(stage.id, "cancelled", "cancelled"))
    stage.worker.run(stage.id, 1, 1, Steps())
    assert stage.generation.failure_kind == "cancelled"
    assert gone.arrived == []


SLOW = VideoFormat(64, 48, Fraction(2))
VIDEO = KeyFrame(type="video", url="-")


def clip(store: Store, folder: Path) -> Timeline:
    encoded = encode([moving(10)], SLOW, folder / "clip")
    store.put_file("segments/old.mp4", folder / "clip")
    return Timeline(SLOW, (Segment("old", "segments/old.mp4", 0, 10, encoded.key_frames),))


@pytest.mark.parametrize("part", ["live/", "-00001.mp4", "segments/new/"])
def test_a_cancel_is_heard_while_what_an_edit_made_is_put(tmp_path: Path, part: str, away: Leave) -> None:
    store = Store.in_folder(tmp_path / "store")
    given, is_cancelled = Footage(clip(store, tmp_path)), threading.Event()

    def tell(stage: str, part: float) -> None:
        if is_cancelled.is_set():
            raise Cancelled("cancelled")

    order = Order(before=VIDEO, edit=Reframe(aspect_ratio=(1, 1), short_side=64))
    scene = Scene.of(Run("new"), order, given, None, Capabilities(name="any"), store, tell)
    gone = away("put", "put_file", part=part, begun=is_cancelled.set)
    with pytest.raises(Cancelled):
        Editing(scene, live=True).make("segments/new/1-1.mp4", 0, 10, ())
    assert gone.arrived == []


def test_what_can_be_watched_is_given_up_where_the_store_takes_too_long(
    tmp_path: Path, away: Leave, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.in_folder(tmp_path / "store")
    planned = plan(Order(before=VIDEO), clip(store, tmp_path), None, Capabilities(name="any"))
    live = Live(Run("new"), planned, None, None, store)
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0.01)
    gone = away("put", part="-00000.mp4")
    with capture_logs() as logs:
        for _ in range(3):
            live.publish(b"a group", 4)
    assert [line["why"] for line in logs] == ["it took longer than 0.01 s"]
    assert gone.arrived == []


def test_what_an_ended_run_has_made_goes_later_where_the_bucket_is_away(
    tmp_path: Path, away: Leave, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = Store.in_folder(tmp_path / "store"), Run("a")
    store.put(run.segment(), b"made for nothing")
    store.is_shared = True
    monkeypatch.setattr(footage, "FORGET_SECONDS", 0.01)
    gone = away("delete_many", part=run.segment())
    run.forget(store)
    assert gone.arrived == []
    assert list(store.keys("segments"))
    gone.back.set()
    assert gone.ended.wait(ENOUGH_SECONDS)
    assert not list(store.keys("segments"))


def test_what_a_store_raises_leaves_nothing_for_the_collector() -> None:
    class Large:
        """Held by whoever waits for the store."""

    held: list[weakref.ref[Large]] = []

    def put() -> NoReturn:
        raise StoreError("the bucket answered 503", retryable=True)

    def wait() -> None:
        large = Large()
        held.append(weakref.ref(large))
        meanwhile(lambda: None, put)

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(StoreError) as failed:
            wait()
        del failed
        assert held[0]() is None
    finally:
        gc.enable()


def test_a_look_tells_again_what_was_told_last() -> None:
    told: list[tuple[str, float]] = []
    telling = Telling(lambda *given: told.append(given), "render", 0.25)
    telling.look()
    telling("render", 0.5)
    telling.look()
    assert told == [("render", 0.25), ("render", 0.5), ("render", 0.5)]

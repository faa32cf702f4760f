"""Pulling frames out of an engine: whatever ends it, the engine's generator is closed and nothing of it is kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from longtake.engines.base import Frames, Report, Shot
from longtake.errors import Cancelled, FaultError, LongtakeError
from longtake.local import make
from longtake.orders import KeyFrame, Order
from tests.footage import decode_linearly, flat, moving, same
from tests.footage import store as store_clip
from tests.stage import CLIP, NUM_GIVEN, Director, walking


class Watched:
    """Something large that a rendering holds: weakly referable."""


class Failing(Director):
    """Gives some frames, and then a frame that can't be encoded, or none because it was taken back."""

    def __init__(self, frames: Frames, error: type[LongtakeError]) -> None:
        super().__init__(frames)
        self.closed = False
        self.held: weakref.ref[Watched] | None = None
        self._error = error

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        context = Watched()
        self.held = weakref.ref(context)
        try:
            for number in range(shot.num_frames):
                if number == 3 and self._error is Cancelled:
                    raise Cancelled("taken back")
                wrong = number >= 3
                yield flat(1, 90, width=32, height=32) if wrong else self._frames[number : number + 1]
        finally:
            self.closed = True


@pytest.mark.parametrize("error", [FaultError, Cancelled])
@pytest.mark.parametrize("end", ["before", "after"])
def test_an_engine_is_closed_by_the_time_a_failure_is_known(
    tmp_path: Path, end: str, error: type[LongtakeError]
) -> None:
    footage = walking(NUM_GIVEN)
    store_clip(tmp_path, "clip.mp4", footage, CLIP)
    engine = Failing(footage, error)
    video = KeyFrame(type="video", url=str(tmp_path / "clip.mp4"))
    order = Order(before=video if end == "before" else None, after=video if end == "after" else None)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(error) as failed:
            make(order, tmp_path / "out.mp4", engine, max_still_pixels=1, tell=lambda stage, part: None)
        assert engine.closed
        del failed
        assert engine.held is not None
        assert engine.held() is None, "a cycle holds the engine's context until the collector comes"
    finally:
        gc.enable()


class Shown(Director):
    """Keeps what it is shown."""

    shot: Shot

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        self.shot = shot
        for number in range(shot.num_frames):
            report.progress(number)
            yield flat(1, 90, width=shot.format.width, height=shot.format.height)


@pytest.mark.parametrize("num_fast", [22, 23])
def test_of_a_faster_video_an_engine_is_shown_every_second_frame_up_to_the_join(tmp_path: Path, num_fast: int) -> None:
    fast, slow = replace(CLIP, frame_rate=2 * CLIP.frame_rate), walking(NUM_GIVEN)
    store_clip(tmp_path, "fast.mp4", moving(num_fast, CLIP.width, CLIP.height), fast)
    store_clip(tmp_path, "slow.mp4", slow, CLIP)
    quick, steady = (KeyFrame(type="video", url=str(tmp_path / f"{name}.mp4")) for name in ("fast", "slow"))
    for before, after in ((quick, steady), (steady, quick)):
        engine = Shown(slow)
        order = Order(before=before, after=after, seconds=Fraction(1))
        make(order, tmp_path / "out.mp4", engine, max_still_pixels=1, tell=lambda stage, part: None, force=True)
        frames = decode_linearly(tmp_path / "fast.mp4")[0]
        shown, first = (engine.shot.before, (num_fast - 1) % 2) if before is quick else (engine.shot.after, 0)
        assert shown is not None
        assert same(shown, frames[first::2])

"""The engine without weights: which way each of the nine cells takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import islice
from threading import Event
from typing import TypeVar

import cv2

from longtake.engines.base import Capabilities, Frames, Report, Shot
from longtake.engines.motion.camera import CONCEPTS, Path
from longtake.engines.motion.crossing import across
from longtake.engines.motion.ends import End, end_of
from longtake.engines.motion.frame import Frame, stack
from longtake.engines.motion.outwards import BEYOND
from longtake.engines.motion.patience import go_on, stopping
from longtake.engines.motion.scene import Scene

_BATCH_FRAMES = 4
_BATCH_PIXELS = 4 * 1280 * 720
_THREADS = 1
"""Of OpenCV's own: see `threads`."""
_ASK_SECONDS = 0.03
"""How often it is asked whether the order still stands, and what was looked at of a clip is let go."""

T = TypeVar("T")


class Motion:
    """Renders from camera motion, optical flow and the clip's own pixels: an `Engine` that needs no weights."""

    capabilities = Capabilities(
        name="motion",
        concepts=CONCEPTS,
        previews=True,
        description="No weights: moves the camera, continues motion and replays real frames; invents nothing.",
    )

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        """Yields the shot's frames from `shot.start` on, planar 4:2:0, at most 4 at a time.

        The same shot gives the same frames. Another seed draws another scene, sets off from a still another way, takes
        other passages of a clip, and lets what passes, and a camera that goes on, go at another pace after the join.
        """
        cv2.setNumThreads(_THREADS)
        report.progress(shot.start)
        if len(shot.concepts) > 1:
            report.note(f"Of the camera moves only the first is carried out: {shot.concepts[0]}.")
        size = max(1, min(_BATCH_FRAMES, _BATCH_PIXELS // (shot.format.width * shot.format.height)))
        given_up, pool = Event(), ThreadPoolExecutor(1, "longtake-motion")
        try:
            frames = _meanwhile(pool.submit(_until, given_up, partial(_frames, shot, report)), report, shot.start)
            rendered = shot.start
            while rendered < shot.num_frames:
                wanted = islice(frames, min(size, shot.num_frames - rendered))
                batch = _meanwhile(pool.submit(_until, given_up, partial(_taken, wanted)), report, rendered)
                if not batch:
                    return
                rendered += len(batch)
                report.progress(rendered)
                yield stack(batch)
        finally:
            given_up.set()
            pool.shutdown(wait=False)


def _meanwhile(made: Future[T], report: Report, rendered: int) -> T:
    """What is being made, once it is there; whoever takes the order back meanwhile does not wait for it."""
    try:
        while not wait([made], _ASK_SECONDS).done:
            report.progress(rendered)
        return made.result()
    finally:
        del made  # what it raises holds this frame: held by it in turn, the shot would outlive the rendering


def _until(given_up: Event, work: Callable[[], T]) -> T:
    """Does the work in the pool's thread; its loops ask whether to go on."""
    with stopping(given_up):
        return work()


def _taken(frames: Iterator[Frame]) -> list[Frame]:
    """All of them, unless the rendering is given up meanwhile."""
    taken = []
    for frame in frames:
        go_on()
        taken.append(frame)
    return taken


def _frames(shot: Shot, report: Report) -> Iterator[Frame]:
    """The frames of a shot from its `start` on, one at a time."""
    before, after = _before(shot), _after(shot)
    if before is None and after is None:
        report.note("No model rendered this: it is a preview drawn from the words of the prompt.")
        return Scene(shot).frames()
    if before is None:
        assert after is not None
        report.note(after.remark(shot.num_frames))
        _note_beyond(shot, -1.0, report)
        return after.towards(shot.num_frames, shot.start)
    if after is None:
        report.note(before.remark(shot.num_frames))
        _note_beyond(shot, 1.0, report)
        return before.away(shot.num_frames, shot.start)
    return across(before, after, shot, report)


def _note_beyond(shot: Shot, seconds: float, report: Report) -> None:
    if _path(shot).pose(seconds).pull:
        report.note(BEYOND)


def _before(shot: Shot) -> End | None:
    if shot.before is None:
        return None
    is_still, rate = shot.cell.before == "still", float(shot.format.frame_rate)
    return end_of(shot.before, _path(shot), rate, is_still=is_still, forward=True, seed=shot.seed)


def _after(shot: Shot) -> End | None:
    if shot.after is None:
        return None
    is_still, rate = shot.cell.after == "still", float(shot.format.frame_rate)
    return end_of(shot.after, _path(shot), rate, is_still=is_still, forward=False, seed=shot.seed)


def _path(shot: Shot) -> Path:
    """The camera's path away from one end. A clip keeps its own camera unless the other end is open."""
    is_open = "nothing" in shot.cell or "clip" not in shot.cell
    concept = next((name for name in shot.concepts if name in CONCEPTS), "") if is_open else ""
    return Path(concept, float(shot.format.seconds(shot.num_frames)), seed=shot.seed)

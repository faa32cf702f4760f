"""The two ends of a shot: how a picture, or a clip's motion, leads away from one and up to the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from longtake.engines.motion.append import Continuation
from longtake.engines.motion.camera import Path, Pose, view
from longtake.engines.motion.flow import mean_squared
from longtake.engines.motion.frame import Frame, frame_at, proxy, warp
from longtake.engines.motion.plan import Jump, Run, Turn
from longtake.engines.motion.stills import MovingStill, ground_depth
from longtake.engines.motion.tail import usable_tail
from longtake.frames import Frames

_ENERGY_SIDE = 240


class End(Protocol):
    """One end of a shot. `away` begins next to it; `towards` is the same stretch the other way round."""

    picture: Frame
    """The frame that stands at the end."""
    is_moving: bool
    """Whether it has motion of its own to go on with."""

    def away(self, num_frames: int) -> Iterator[Frame]: ...

    def towards(self, num_frames: int) -> Iterator[Frame]: ...

    def energy(self) -> float:
        """The mean squared change from frame to frame on this side, in levels squared."""
        ...

    def remark(self, num_frames: int, /) -> str:
        """What is to be said about `num_frames` of it, as a sentence."""
        ...


class PictureEnd:
    """A still, or a clip of which only the outermost frame is of use: the camera moves over it."""

    is_moving = False

    def __init__(self, picture: Frame, path: Path, frame_rate: float, *, forward: bool, shown: bool) -> None:
        """`shown`: the picture itself is the stretch's first frame (a still), else it is the one next to it."""
        self.picture = picture
        self.shown = shown
        self._moving = MovingStill(picture, path)
        self._seconds = (1 if forward else -1) / frame_rate

    def away(self, num_frames: int) -> Iterator[Frame]:
        for index in range(num_frames):
            yield self._at(index)

    def towards(self, num_frames: int) -> Iterator[Frame]:
        for index in reversed(range(num_frames)):
            yield self._at(index)

    def energy(self) -> float:
        second = round(1 / abs(self._seconds))
        steps = [proxy(self._at(second + index).y, _ENERGY_SIDE) for index in (0, 1)]
        return mean_squared(*steps)

    def remark(self, _num_frames: int, /) -> str:
        if self.shown:
            return "The camera moves over the image: the motion engine cannot move what is in it."
        return "Too little of the clip moves for the motion engine to go on from, so the camera moves over its frame."

    def _at(self, index: int) -> Frame:
        return self._moving.at(self._seconds * (index if self.shown else index + 1))


class ClipEnd:
    """A clip that moves. Time runs away from it, so what leads up to a clip is made from the clip reversed."""

    is_moving = True

    def __init__(self, continuation: Continuation, picture: Frame, path: Path, frame_rate: float, forward: bool):
        self.picture = picture
        self._continuation = continuation
        self._path = path
        self._seconds = (1 if forward else -1) / frame_rate
        self._depth = ground_depth(picture.size)
        self._is_forward = forward

    def away(self, num_frames: int) -> Iterator[Frame]:
        index = 0
        for piece, length in self._continuation.plan(num_frames):
            for frame, _ in zip(self._continuation.render(piece), range(length), strict=False):
                yield self._seen(frame, index)
                index += 1

    def towards(self, num_frames: int) -> Iterator[Frame]:
        index = num_frames
        for piece, length in reversed(list(self._continuation.plan(num_frames))):
            # A passage is mixed in its own order, so it is held whole: half a second at the most.
            frames = [frame for frame, _ in zip(self._continuation.render(piece), range(length), strict=False)]
            while frames:
                index -= 1
                yield self._seen(frames.pop(), index)

    def energy(self) -> float:
        return self._continuation.energy

    def remark(self, num_frames: int, /) -> str:
        seconds, cannot = 0.0, "the motion engine cannot invent what no frame shows."
        for piece, length in self._continuation.plan(num_frames):
            if isinstance(piece, Turn):
                seconds += piece.half * abs(self._seconds)
                if seconds < 0.05:
                    return f"The shot plays back {'from' if self._is_forward else 'up to'} the seam: {cannot}"
                when = f"After {seconds:.1f} s" if self._is_forward else f"Until {seconds:.1f} s ahead of the seam"
                return f"{when} the shot plays back: {cannot}"
            if isinstance(piece, Jump):
                return f"The shot goes on with moments of its own that look alike: {cannot}"
            assert isinstance(piece, Run)
            seconds += length * abs(self._seconds)
        return f"The shot goes on with its own frames: {cannot}"

    def _seen(self, frame: Frame, index: int) -> Frame:
        if not self._path.concept:
            return frame
        pose = self._path.pose(self._seconds * (index + 1))
        return frame if pose == Pose() else warp(frame, view(pose, self._depth, frame.size))


def end_of(
    frames: Frames, path: Path, frame_rate: float, *, is_still: bool, forward: bool, seed: int
) -> ClipEnd | PictureEnd:
    """The end that `frames` make: `forward` where the shot begins after them, else it leads up to them."""
    in_order = frames if forward else Frames(tuple(plane[::-1] for plane in frames.planes))
    picture = frame_at(in_order, -1)
    tail = None if is_still else usable_tail(in_order, frame_rate)
    if tail is None:
        picture = Frame(*(np.ascontiguousarray(plane) for plane in picture))
        return PictureEnd(picture, path, frame_rate, forward=forward, shown=is_still)
    return ClipEnd(Continuation(tail, frame_rate, seed), picture, path, frame_rate, forward)

"""The two ends of a shot: how a picture, or a clip's motion, leads away from one and up to the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Protocol

import numpy as np

from longtake.engines.motion.append import Continuation, Rest, drawn_from
from longtake.engines.motion.camera import Path, Pose, view
from longtake.engines.motion.coast import Coast
from longtake.engines.motion.flow import mean_squared
from longtake.engines.motion.frame import (
    FinePicture,
    Frame,
    frame_at,
    proxy,
    sample_grid,
    sharpen_to,
    sharpness,
    warp,
)
from longtake.engines.motion.momentum import Course, Speed, camera_speed, course
from longtake.engines.motion.morph import Morph
from longtake.engines.motion.outwards import Beyond
from longtake.engines.motion.passing import Passing, passing
from longtake.engines.motion.plan import Jump, Run, Turn
from longtake.engines.motion.stills import MovingStill, ground_depth, pseudo_depth
from longtake.engines.motion.tail import usable_tail
from longtake.engines.motion.threads import Draw, drawn
from longtake.engines.motion.woven import Weave, Woven, going_on
from longtake.frames import Frames

_ENERGY_SIDE = 240
_LEAST_SPENT = 0.7
_SOFTER = 0.25
"""The sharpness that a camera going on gives up for the logarithm of its magnification."""


class End(Protocol):
    """One end of a shot. `away` begins next to it; `towards` is the same stretch the other way round."""

    picture: Frame
    """The frame that stands at the end."""
    is_moving: bool
    """Whether it has motion of its own to go on with."""

    def away(self, num_frames: int, start: int = 0) -> Iterator[Frame]:
        """The frames `[start, num_frames)` of the stretch: those ahead of `start` are not made."""
        ...

    def towards(self, num_frames: int, start: int = 0) -> Iterator[Frame]: ...

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
        self._stands = path.concept == "static"
        self._moving = MovingStill(picture, path)
        self._seconds = (1 if forward else -1) / frame_rate

    def away(self, num_frames: int, start: int = 0) -> Iterator[Frame]:
        return drawn(partial(self._at, index) for index in range(start, num_frames))

    def towards(self, num_frames: int, start: int = 0) -> Iterator[Frame]:
        return drawn(partial(self._at, index) for index in reversed(range(num_frames - start)))

    def energy(self) -> float:
        second = round(1 / abs(self._seconds))
        steps = [proxy(self._at(second + index).y, _ENERGY_SIDE) for index in (0, 1)]
        return mean_squared(*steps)

    def remark(self, _num_frames: int, /) -> str:
        if self._stands:
            return "The camera stands, as was asked for: the motion engine cannot move what is in a picture."
        if self.shown:
            return "The camera moves over the image: the motion engine cannot move what is in it."
        return "Too little of the clip moves for the motion engine to go on from, so the camera moves over its frame."

    def _at(self, index: int) -> Frame:
        return self._moving.at(self._seconds * (index if self.shown else index + 1))


class CameraEnd:
    """A clip in which the camera moves and little else: the camera goes on over the frame at the clip's end."""

    is_moving = True

    def __init__(
        self, picture: Frame, speed: Speed, path: Path, frame_rate: float, *, forward: bool, seed: int = 0
    ) -> None:
        """`path`: the move to go over to, if it names one. Another seed (but 0) spends less of the way there is."""
        self._spent = float(np.random.default_rng(seed).uniform(_LEAST_SPENT, 1)) if seed else 1.0
        self.picture = picture
        self._fine = FinePicture(picture)
        self._speed = speed
        self._path = path
        self._frame_rate = frame_rate
        self._is_forward = forward
        self._sharpness = sharpness(picture.y)
        self._depth = pseudo_depth(picture) if path.concept else ground_depth(picture.size)

    def away(self, num_frames: int, start: int = 0) -> Iterator[Frame]:
        way = self._course(num_frames)
        return drawn(partial(self._at, way, index) for index in range(start, num_frames))

    def towards(self, num_frames: int, start: int = 0) -> Iterator[Frame]:
        way = self._course(num_frames)
        return drawn(partial(self._at, way, index) for index in reversed(range(num_frames - start)))

    def energy(self) -> float:
        half = max(1, round(0.5 * self._frame_rate))
        way = self._course(2 * half + 1)
        steps = [proxy(self._at(way, half + index).y, _ENERGY_SIDE) for index in (0, 1)]
        return mean_squared(*steps)

    def remark(self, num_frames: int, /) -> str:
        cannot = "nothing new can appear in the picture."
        if self._path.concept:
            asked = f"the camera move that was asked for ({self._path.concept})"
            if self._is_forward:
                return f"The camera goes over from its own motion into {asked}: {cannot}"
            return f"The camera comes from {asked} into its own motion: {cannot}"
        slower = self._course(num_frames).slows_down
        if self._is_forward:
            return f"The camera goes on as it moved{', slower and slower' if slower else ''}: {cannot}"
        return f"The camera comes up to the seam as it moves there{', from slowly' if slower else ''}: {cannot}"

    def _course(self, num_frames: int) -> Course:
        hands_over = bool(self._path.concept)
        length, size = max(num_frames, 1), self.picture.size
        return course(self._speed, size, length, self._frame_rate, hands_over=hands_over, spent=self._spent)

    def _at(self, way: Course, index: int) -> Frame:
        displacement = way.view(index)
        pose = Pose()
        if self._path.concept:
            seconds = (index + 1) / self._frame_rate * (1 if self._is_forward else -1)
            pose = self._path.pose(seconds)
        if pose != Pose() and not pose.pull:
            asked = view(pose, self._depth, self.picture.size)
            cells = np.float32(asked.shape[1] / self.picture.size[0])
            displacement = np.asarray(asked + sample_grid(displacement, asked * cells), np.float32)
        warped = self._fine.warp(displacement)
        # What is magnified is a little softer by nature; the rest of what resampling took is given back.
        made = sharpen_to(warped, self._sharpness * float(np.exp(-_SOFTER * max(way.zoom[index], 0.0))))
        return Beyond(made, again=False).seen(self._path.concept, pose, self._depth) if pose.pull else made


class ClipEnd:
    """A clip that moves. Time runs away from it, so what leads up to a clip is made from the clip reversed."""

    is_moving = True

    def __init__(
        self, continuation: Continuation | Woven | Rest, picture: Frame, path: Path, frame_rate: float, forward: bool
    ) -> None:
        self.picture = picture
        self._continuation = continuation
        self._path = path
        self._seconds = (1 if forward else -1) / frame_rate
        self._depth = ground_depth(picture.size)
        self._is_forward = forward

    def away(self, num_frames: int, start: int = 0) -> Iterator[Frame]:
        draws = drawn_from(start, self._continuation.plan(num_frames), self._continuation.draws)
        return drawn(partial(self._drawn, draw, index) for index, draw in enumerate(draws, start))

    def towards(self, num_frames: int, start: int = 0) -> Iterator[Frame]:
        plan = reversed(list(self._continuation.plan(num_frames)))
        draws = drawn_from(start, plan, self._continuation.draws_backwards)
        return drawn(partial(self._drawn, draw, num_frames - 1 - place) for place, draw in enumerate(draws, start))

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
            if isinstance(piece, Coast):
                return f"What changes goes on as it did, slower and slower: {cannot}"
            if isinstance(piece, Morph):
                return f"The shot goes on with moments of its own, each moved into from its last frame: {cannot}"
            if isinstance(piece, Jump):
                return f"The shot goes on with moments of its own that look alike: {cannot}"
            if isinstance(piece, Weave):
                return f"{piece.said()}: {cannot}"
            assert isinstance(piece, Run)
            seconds += length * abs(self._seconds)
        return f"The shot goes on with its own frames: {cannot}"

    def _drawn(self, draw: Draw, index: int) -> Frame:
        return self._seen(draw(), index)

    def _seen(self, frame: Frame, index: int) -> Frame:
        if not self._path.concept:
            return frame
        pose = self._path.pose(self._seconds * (index + 1))
        if pose.pull:
            return Beyond(frame, again=False).seen(self._path.concept, pose, self._depth)
        return frame if pose == Pose() else warp(frame, view(pose, self._depth, frame.size))


class LayeredEnd(ClipEnd):
    """A clip from a camera that stands: what passes through goes on in layers, the scene behind it as a clip does."""

    def __init__(self, taken: Passing, picture: Frame, path: Path, frame_rate: float, forward: bool, seed: int) -> None:
        self._layers = taken.layers
        behind = taken.behind()
        if len(behind.proxies) > 1:
            scene: Continuation | Woven | Rest = going_on(
                behind, frame_rate, seed, is_calm=not taken.layers.stays.any()
            )
        else:
            scene = Rest(behind)
        super().__init__(scene, picture, path, frame_rate, forward)

    def remark(self, num_frames: int, /) -> str:
        goes = "goes on as it went" if self._is_forward else "comes in as it goes on"
        said = f"What passes through the picture {goes}, each thing a layer of its own"
        if self._layers.stays.any():
            behind = super().remark(num_frames)
            return f"{said}. Behind it, {behind[0].lower()}{behind[1:]}"
        return f"{said}: nothing that no frame shows can appear."

    def _seen(self, frame: Frame, index: int) -> Frame:
        return super()._seen(self._layers.compose(frame, index + 1), index)


def end_of(frames: Frames, path: Path, frame_rate: float, *, is_still: bool, forward: bool, seed: int) -> End:
    """The end that `frames` make: `forward` where the shot begins after them, else it leads up to them."""
    in_order = frames if forward else Frames(tuple(plane[::-1] for plane in frames.planes))
    picture = frame_at(in_order, -1)
    tail = None if is_still else usable_tail(in_order, frame_rate)
    speed = None if tail is None else camera_speed(tail, frame_rate)
    if speed is not None:
        return CameraEnd(picture, speed, path, frame_rate, forward=forward, seed=seed)
    if tail is None:
        return PictureEnd(picture, path, frame_rate, forward=forward, shown=is_still)
    taken = passing(tail, frame_rate, seed)
    if taken is not None:
        return LayeredEnd(taken, picture, path, frame_rate, forward, seed)
    return ClipEnd(going_on(tail, frame_rate, seed), picture, path, frame_rate, forward)

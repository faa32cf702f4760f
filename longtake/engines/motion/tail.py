"""The end of a clip that a continuation may look at: what follows the last cut, or the rest that it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from longtake.engines.motion.filter import Filter, filter_for
from longtake.engines.motion.flow import FLOW_SIDE, mean_squared
from longtake.engines.motion.frame import Frame, frame_at, proxy
from longtake.engines.motion.threads import each
from longtake.frames import Frames, Plane

_GUARD_SIDE = 96
_MOST_SECONDS = 6.0
_LEAST_SECONDS = 0.5
_LEAST_FRAMES = 8
_STILL_ENERGY = 0.3
"""A clip whose steps are smaller (mean squared, in levels) stands still."""
_FROZEN_ENERGY = 0.02
"""Below this there is not even noise to replay."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The last frames of a clip, and their small copies for measuring motion."""

    frames: Frames
    proxies: list[Plane]
    filter: Filter | None = field(default=None, kw_only=True)
    """What the proxies are seen through; None: they are luma."""

    @property
    def energy(self) -> float:
        return step_energy(self.proxies)

    @property
    def scale(self) -> float:
        """Luma pixels for one proxy pixel."""
        return self.frames.width / float(self.proxies[0].shape[1])

    @property
    def share(self) -> float:
        """Of the picture, how much the frames show."""
        return 1.0

    def picture(self, index: int) -> Frame:
        """Frame `index` (negative counts from the end), not copied."""
        return frame_at(self.frames, index)

    def looks(self, picture: Frame) -> Plane:
        """A picture as the proxies show it, of their size."""
        size = (self.proxies[0].shape[1], self.proxies[0].shape[0])
        if self.filter is not None:
            return self.filter.seen(picture, size)
        return np.asarray(cv2.resize(picture.y, size, interpolation=cv2.INTER_AREA), np.uint8)

    def after(self, index: int) -> Tail:
        """All but the first `index` frames."""
        return Tail(self.frames[index:], self.proxies[index:], filter=self.filter)

    def coloured(self) -> Tail:
        """The same seen through a filter, where luma does not show what is in the last frame."""
        found = filter_for(self.frames)
        if found is None:
            return self
        through = Tail(self.frames, self.proxies, filter=found)
        proxies = each(lambda index: through.looks(self.picture(index)), range(len(self.proxies)))
        return Tail(self.frames, proxies, filter=found)


def usable_tail(clip: Frames, frame_rate: float) -> Tail | None:
    """What a continuation may look at and replay; None where too little of it holds together or moves."""
    frames = clip[-max(1, round(_MOST_SECONDS * frame_rate)) :]
    tail = Tail(frames, each(partial(proxy, long_side=FLOW_SIDE), list(frames.planes[0])))
    tail = tail.after(_last_cut(tail.proxies)).coloured()
    tail = tail.after(_start_of_rest(tail.proxies, frame_rate))
    if tail.frames.num_frames < max(_LEAST_FRAMES, _LEAST_SECONDS * frame_rate):
        return None
    if step_energy(tail.proxies[-max(2, round(frame_rate)) :]) < _FROZEN_ENERGY:
        return None
    return tail


def step_energy(proxies: Sequence[Plane]) -> float:
    """The median mean squared change from frame to frame, in levels squared; 0 for a single frame."""
    steps = [mean_squared(a, b) for a, b in pairwise(proxies)]
    return float(np.median(steps)) if steps else 0.0


def _last_cut(proxies: list[Plane]) -> int:
    """The first frame after the last cut: a step that is large, far above the usual, and changes the histogram."""
    small = [proxy(plane, _GUARD_SIDE) for plane in proxies]
    steps = [float(np.mean(cv2.absdiff(a, b))) for a, b in pairwise(small)]
    usual = float(np.median(steps)) if steps else 0.0
    for index in range(len(steps) - 1, -1, -1):
        if steps[index] > 12 and steps[index] > 6 * usual and _histograms_differ(small[index], small[index + 1]):
            return index + 1
    return 0


def _histograms_differ(a: Plane, b: Plane) -> bool:
    counts = [np.bincount(plane.ravel() >> 3, minlength=32) / plane.size for plane in (a, b)]
    return float(np.abs(counts[0] - counts[1]).sum()) > 0.25


def _start_of_rest(proxies: list[Plane], frame_rate: float) -> int:
    """Where the part begins in which nothing moves, if the clip ends so; else 0."""
    if step_energy(proxies[-max(2, round(frame_rate)) :]) >= _STILL_ENERGY:
        return 0
    steps = [mean_squared(a, b) for a, b in pairwise(proxies)]
    # A key frame pops for one step: the median of five does not see it.
    calm = [float(np.median(steps[max(0, index - 2) : index + 3])) for index in range(len(steps))]
    moving = [index for index, energy in enumerate(calm) if energy >= 1.0]
    return moving[-1] + 1 if moving else 0

"""What changes steadily and one way, a flower that opens, clouds that drift, goes on so, slower and slower.

Only where that would have been right before: begun at several earlier moments, it has to tell the last frame clearly
better than a freeze.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from longtake.engines.motion.flow import follow, mean_squared, optical_flow, quick_flow
from longtake.engines.motion.frame import Field, FinePicture, Frame, sample_grid
from longtake.engines.motion.patience import go_on
from longtake.engines.motion.tail import Tail
from longtake.frames import Plane

_BASES_SECONDS = (0.2, 0.35, 0.5)
"""The velocity is the median of those over these times: what flutters evens out."""
_TESTS_SECONDS = (0.25, 0.5, 0.75, 1.0)
_LEAST_GAIN = 0.65
"""What coasts is told at every one of these times with an error below this share of a freeze's."""
_SETTLING_SECONDS = 1.0
_FLUTTER_SECONDS = 0.8
_SMOOTH = 8.0
"""Proxy pixels: what flutters in smaller parts than this is noise of the measuring."""


@dataclass(frozen=True, slots=True)
class Coast:
    """On and on as it went."""

    settling: float
    """The frames in which its speed falls to 1/e."""

    def steps(self, index: int) -> float:
        """How far it has come after `index` frames, in frames at the first speed."""
        return settled(index, self.settling)


def settled(steps: float, settling: float) -> float:
    """How far one comes in so many steps, starting at one a step, when the speed falls to 1/e in `settling`."""
    return settling * -math.expm1(-steps / settling)


def coast(frame_rate: float) -> Coast:
    """Slow enough to be believed, and at an end when nothing can be said any more."""
    return Coast(_SETTLING_SECONDS * frame_rate)


class Coasting:
    """How a clip goes on from its last frame: steadily, and fluttering about that as it fluttered."""

    def __init__(self, tail: Tail, steady: Field, frame_rate: float) -> None:
        self._proxies = tail.proxies
        self._fine = FinePicture(tail.picture(-1))
        self._scale = np.float32(tail.scale)
        self._steady = steady
        self._flutters: dict[int, Field] = {}
        self._most = min(len(tail.proxies) - 1, max(1, round(_FLUTTER_SECONDS * frame_rate)))

    def carry(self, steps: float, index: int) -> Frame:
        """The last frame as it would look `index` frames later, when it has come `steps` frames' way."""
        # What swung to one side comes by on the other: so its speed goes on through the last frame.
        away = np.float32(steps) * self._steady - self._flutter(index)
        return self._fine.warp(follow(np.asarray(away, np.float32), 1.0) * self._scale)

    def _flutter(self, index: int) -> Field:
        """How far things were from their steady way so many frames ago; to and fro, from the last frame on."""
        back = self._most - abs(self._most - index % (2 * self._most))
        if back == 0:
            return np.zeros_like(self._steady)
        if back not in self._flutters:
            apart = quick_flow(self._proxies[-1], self._proxies[-1 - back]) + np.float32(back) * self._steady
            self._flutters[back] = np.asarray(cv2.GaussianBlur(apart, (0, 0), _SMOOTH), np.float32)
        return self._flutters[back]


def coasting(tail: Tail, frame_rate: float) -> Coasting | None:
    """None where the clip does not go on steadily."""
    proxies, last = tail.proxies, tail.proxies[-1]
    for seconds in _TESTS_SECONDS:
        go_on()
        steps = round(seconds * frame_rate)
        before = proxies[:-steps]
        if len(before) <= round(_BASES_SECONDS[-1] * frame_rate):
            return None
        told = sample_grid(before[-1].astype(np.float32), follow(_steady(before, frame_rate), steps))
        wrong = float(np.mean((told - last) ** 2))
        if wrong > _LEAST_GAIN * mean_squared(before[-1], last):
            return None
    return Coasting(tail, _steady(proxies, frame_rate), frame_rate)


def _steady(proxies: Sequence[Plane], frame_rate: float) -> Field:
    """Proxy pixels a frame, at the last frame."""
    flows = []
    for seconds in _BASES_SECONDS:
        base = max(1, round(seconds * frame_rate))
        flows.append(optical_flow(proxies[-1], proxies[-1 - base]) / np.float32(-base))
    middle = np.median(flows, axis=0).astype(np.float32)
    calm = [cv2.medianBlur(np.ascontiguousarray(middle[..., axis]), 5) for axis in (0, 1)]
    return np.asarray(cv2.GaussianBlur(np.dstack(calm), (0, 0), 3.0), np.float32)

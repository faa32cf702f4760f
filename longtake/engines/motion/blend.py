"""From one moving picture into another: the energy servo.

A crossfade spends its whole length half-way between two pictures: the motion dies and ghosts stand. The servo instead
gives each block just so much of the new picture in each step as makes the step as large as the footage's own steps are.
Where both pictures are alike but for moving texture (water, leaves) a block switches within two frames; where they
differ it fades at the slowest rate that still arrives in time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from longtake.engines.motion.frame import Frame, Map, proxy, stretch
from longtake.frames import Plane

_SIDE = 240
_BLOCK = 8
"""Weights are solved for in blocks of 8 px of a 240 px proxy."""
_MOST_GAIN = 1.5
"""The contrast that a mix of two uncorrelated textures loses is given back up to this factor."""


@dataclass
class Servo:
    """Mixes two streams, frame by frame, from all of the first to all of the second."""

    num_frames: int
    """How many mixed frames there are."""
    energy: float
    """Mean squared change from frame to frame that the footage itself shows, in levels squared."""
    previous: Frame
    """The last frame ahead of the mix."""
    _shown: Plane | None = field(default=None, init=False)
    _weight: Map | None = field(default=None, init=False)
    _step: int = field(default=0, init=False)

    def mix(self, first: Frame, second: Frame) -> Frame:
        """The next mixed frame, from the two streams' frames at this moment."""
        a, b = proxy(first.y, _SIDE), proxy(second.y, _SIDE)
        self._step += 1
        progress = self._step / (self.num_frames + 1)
        weight = self._advance(a, b, floor=progress * progress * (3 - 2 * progress))
        mixed = mix(first, second, stretch(weight, first.size))
        self._shown = proxy(mixed.y, _SIDE)
        return mixed

    def _advance(self, a: Plane, b: Plane, floor: float) -> Map:
        """Solves |d0 + w (b - a)|^2 = energy in each block for the weight w, which never falls."""
        old = self._weight if self._weight is not None else np.zeros(a.shape, np.float32)
        previous = self._shown if self._shown is not None else proxy(self.previous.y, _SIDE)
        difference = np.asarray(b.astype(np.float32) - a, np.float32)
        drift = np.asarray(a - previous.astype(np.float32) + old * difference, np.float32)
        size = (max(1, a.shape[1] // _BLOCK), max(1, a.shape[0] // _BLOCK))

        def blocks(values: Map) -> Map:
            return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)

        power, cross = blocks(difference * difference) + 1e-3, blocks(drift * difference)
        lack = np.minimum(blocks(drift * drift) - np.float32(self.energy), 0)
        gain = (-cross + np.sqrt(np.maximum(cross * cross - power * lack, 0))) / power
        gain = np.where(lack < 0, np.clip(gain, 0, 1), 0).astype(np.float32)
        wanted = old + stretch(np.asarray(cv2.GaussianBlur(gain, (0, 0), 1.0), np.float32), (a.shape[1], a.shape[0]))
        self._weight = np.clip(np.maximum(wanted, floor), 0, 1).astype(np.float32)
        return self._weight


def mix(first: Frame, second: Frame, weight: Map) -> Frame:
    """`first` and `second` by weight (that of `second`), fine luma contrast kept."""
    width, height = first.size
    half = np.asarray(cv2.resize(weight, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.float32)
    return Frame(_mix_luma(first.y, second.y, weight), _lerp(first.u, second.u, half), _lerp(first.v, second.v, half))


def _lerp(a: Plane, b: Plane, weight: Map) -> Plane:
    return np.asarray(cv2.blendLinear(a, b, 1 - weight, weight), np.uint8)


def _mix_luma(a: Plane, b: Plane, weight: Map) -> Plane:
    """The variance of w b + (1 - w) a is less than that of its parts by what they do not share; the high band gets it
    back: gain^2 = ((1-w) va + w vb) / var(mix), variances measured around each point of a proxy."""
    mixed = _lerp(a, b, weight)
    size = (max(2, a.shape[1] // 8), max(2, a.shape[0] // 8))
    fine = [plane.astype(np.float32) - cv2.GaussianBlur(plane, (0, 0), 2.0) for plane in (a, b, mixed)]
    spread = [cv2.resize(np.square(band), size, interpolation=cv2.INTER_AREA) for band in fine]
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    kept = (spread[2] + 0.5) / ((1 - share) * spread[0] + share * spread[1] + 0.5)
    gain = np.clip(1 / np.sqrt(np.maximum(kept, 1e-3)), 1, _MOST_GAIN).astype(np.float32) - 1
    gain = np.asarray(cv2.GaussianBlur(gain, (0, 0), 1.0), np.float32)
    if float(gain.max()) < 0.01:
        return mixed
    lift = fine[2] * stretch(gain, (a.shape[1], a.shape[0]))
    return np.asarray(cv2.add(mixed, lift, dtype=cv2.CV_8U), np.uint8)


def tone_difference(first: Frame, second: Frame, most: float = 20.0) -> tuple[float, ...]:
    """By how much the planes' means differ; zero where so much that the two are not the same scene."""
    steps = tuple(float(b.mean()) - float(a.mean()) for a, b in zip(first, second, strict=True))
    return steps if max(abs(step) for step in steps) < most else (0.0, 0.0, 0.0)


def shift_tone(frame: Frame, difference: tuple[float, ...], share: float) -> Frame:
    """`frame` with `share` of a tone difference added to its planes."""
    levels = np.arange(256)
    shifted = [
        np.asarray(cv2.LUT(plane, np.clip(levels + round(step * share), 0, 255).astype(np.uint8)), np.uint8)
        for plane, step in zip(frame, difference, strict=True)
    ]
    return Frame(*shifted)

"""Camera moves: a concept's name → poses along a path → where each pixel is fetched from.

A still has no picture beyond its borders. A move therefore opens a margin first, by pushing in a little, and spends
only what is open; a move outwards shrinks the middle of the picture and leaves its rim where it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.frame import Field, Map, grid_size, pixel_grid, sample_grid, stretch

CONCEPTS = frozenset(
    [f"{move}_{side}" for move in ("truck", "pan", "roll", "orbit") for side in ("left", "right")]
    + [f"{move}_{side}" for move in ("tilt", "pedestal", "crane") for side in ("up", "down")]
    + ["zoom_in", "zoom_out", "push_in", "pull_out", "dolly_zoom", "static", "handheld"]
)
"""Every move that this engine carries out as it is named."""

Axes = npt.NDArray[np.float32]
"""float32 (2, rows, columns): as a `Field`, but x first and then y, which is faster to compute with."""

_GRID_SIDE = 160
_EASE_SECONDS = 0.8
_UNIT_SECONDS = 5.0
_MOST_PROGRESS = 1.6
_SPENT = 0.85
"""The part of the open margin that a move uses."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the camera stands, seen from where it stood for the picture itself."""

    far: float = 1.0
    """Magnification of what is far away, about the centre."""
    near: float = 1.0
    """Magnification of what is near."""
    shift: tuple[float, float] = (0.0, 0.0)
    """By how much of the open margin the view moves right and down; -1 to 1."""
    parallax: tuple[float, float] = (0.0, 0.0)
    """The same, for what is near; what is far moves the other way, the middle stays."""
    roll: float = 0.0
    """Radians; the camera turns counterclockwise, the scene clockwise."""
    pull: float = 0.0
    """How much the middle shrinks while the rim stays."""


@dataclass(frozen=True, slots=True)
class Path:
    """A move in time. Second 0 is where the picture is exactly itself, at rest; seconds may be negative."""

    concept: str = ""
    """Empty: the engine's own slow drift."""
    seconds: float = 5.0
    """How long the move lasts; long ones are slower, since a picture has no more than its pixels to show."""
    loop: bool = False
    """Goes out and comes back, once within `seconds`."""
    seed: int = 0

    def pose(self, seconds: float) -> Pose:
        progress = self._progress(seconds)
        if self.loop:
            return _turned(_POSES.get(self.concept, _drift)(progress, seconds, self.seed), seconds / self.seconds)
        return _POSES.get(self.concept, _drift)(progress, seconds, self.seed)

    def _progress(self, seconds: float) -> float:
        """Eased in from rest, then steady; 1 is reached in about five seconds."""
        total = min(self.seconds / _UNIT_SECONDS, _MOST_PROGRESS)
        if self.loop:
            return total * (1 - math.cos(2 * math.pi * seconds / self.seconds)) / 2
        ease = min(_EASE_SECONDS, self.seconds / 2)
        gone = abs(seconds)
        travelled = gone * gone / (2 * ease) if gone < ease else gone - ease / 2
        return math.copysign(total * travelled / (self.seconds - ease / 2), seconds)


class _Move(Protocol):
    """(progress, seconds, seed) → Pose; progress is negative ahead of the exact picture."""

    def __call__(self, progress: float, seconds: float, seed: int, /) -> Pose: ...


def view(pose: Pose, depth: Map, size: tuple[int, int]) -> Field:
    """The backward displacement that shows a picture of (width, height) from `pose`.

    `depth` (rows, columns) is 0 far away and 1 near; what is asked for never lies outside the picture.
    """
    offset, cell = _offsets(size)
    centre = _by_axis((size[0] - 1) / 2, (size[1] - 1) / 2)
    rolled = offset
    if pose.roll:
        cos, sin = np.float32(math.cos(pose.roll)), np.float32(math.sin(pose.roll))
        rolled = np.stack([cos * offset[0] + sin * offset[1], cos * offset[1] - sin * offset[0]])
    depth = stretch(depth, (offset.shape[2], offset.shape[1]))
    margin, shift, parallax = _by_axis(*_open_margin(pose, size)), _by_axis(*pose.shift), _by_axis(*pose.parallax)
    source, seen = rolled, depth
    for step in range(3 if pose.near != pose.far or any(pose.parallax) else 1):
        if step:
            seen = sample_grid(depth, _interleaved((source - offset) / cell))
        scale = np.float32(1 / pose.far) + seen * np.float32(1 / pose.near - 1 / pose.far)
        source = rolled * scale + margin * (shift + parallax * (2 * seen - 1))
        if pose.pull:
            source += _pulled(pose, offset, centre, seen)
    return _interleaved(np.clip(source, -centre, centre) - offset)


@lru_cache(maxsize=8)
def _offsets(size: tuple[int, int]) -> tuple[Axes, Axes]:
    """From the centre of a picture of (width, height) to each point of the grid over it; and the size of its cells.
    Shared, so never write to it."""
    columns, rows = grid_size(size, _GRID_SIDE)
    cell = _by_axis(size[0] / columns, size[1] / rows)
    places = np.moveaxis(pixel_grid((columns, rows)), 2, 0)
    offset = (places + np.float32(0.5)) * cell - np.float32(0.5) - _by_axis((size[0] - 1) / 2, (size[1] - 1) / 2)
    offset.flags.writeable = False
    return offset, cell


def _by_axis(x: float, y: float) -> Axes:
    return np.array([x, y], np.float32)[:, None, None]


def _interleaved(values: Axes) -> Field:
    return np.asarray(cv2.merge([np.ascontiguousarray(axis) for axis in values]), np.float32)


def _pulled(pose: Pose, offset: Axes, centre: Axes, depth: Map) -> Axes:
    rim = 1 - np.square(offset / np.maximum(centre, 0.5))
    return np.asarray(offset * (np.float32(pose.pull) * rim[0] * rim[1] * (0.6 + 0.4 * depth)), np.float32)


def _open_margin(pose: Pose, size: tuple[int, int]) -> tuple[float, float]:
    """Pixels of picture beyond the view's left and right, and beyond its top and bottom."""
    width, height = size
    least = min(pose.far, pose.near)
    cos, sin = abs(math.cos(pose.roll)), abs(math.sin(pose.roll))
    across = width - (width * cos + height * sin) / least
    down = height - (height * cos + width * sin) / least
    return max(across / 2 - 1, 0.0), max(down / 2 - 1, 0.0)


def _turned(pose: Pose, turns: float) -> Pose:
    """A loop's drift swings round once, so that the way back is not the way out."""
    x, y = pose.shift
    cos, sin = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    return replace(pose, shift=(x * cos - y * sin, x * sin + y * cos)) if not pose.roll else pose


def _sideways(x: float, y: float, parallax: float) -> _Move:
    """A shift towards (x, y), of which `parallax` (0 to 1) depends on how near things are."""

    def pose(progress: float, _seconds: float, _seed: int) -> Pose:
        sign = math.copysign(_SPENT, progress)
        near, all_alike = sign * parallax * 0.5, sign * (1 - parallax * 0.5)
        zoom = 1 + 0.16 * abs(progress)
        return Pose(zoom, zoom, (x * all_alike, y * all_alike), (x * near, y * near))

    return pose


def _orbit(side: float) -> _Move:
    def pose(progress: float, _seconds: float, _seed: int) -> Pose:
        zoom = 1 + 0.14 * abs(progress)
        return Pose(zoom, zoom, parallax=(math.copysign(_SPENT, progress) * side, 0.0))

    return pose


def _roll(side: float) -> _Move:
    def pose(progress: float, _seconds: float, _seed: int) -> Pose:
        angle = 0.07 * side * progress
        zoom = 1 + 2.5 * abs(angle)
        return Pose(zoom, zoom, roll=angle)

    return pose


def _inwards(far: float, near: float, side: float) -> _Move:
    def pose(progress: float, _seconds: float, _seed: int) -> Pose:
        progress *= side
        if progress >= 0:
            return Pose(1 + far * progress, 1 + near * progress)
        return Pose(pull=min(0.16 * -progress, 0.24))

    return pose


def _dolly_zoom(progress: float, _seconds: float, _seed: int) -> Pose:
    return Pose(1 + 0.22 * abs(progress), 1.0)


def _static(_progress: float, _seconds: float, _seed: int) -> Pose:
    return Pose()


def _handheld(progress: float, seconds: float, seed: int) -> Pose:
    """A steady hand is never quite still: two slow sways in each direction, of periods that never meet."""
    first, second, third, fourth = np.random.default_rng(seed).uniform(0, 2 * math.pi, 4)
    x = 0.6 * math.sin(2.1 * seconds + first) + 0.35 * math.sin(5.3 * seconds + second)
    y = 0.6 * math.sin(1.7 * seconds + third) + 0.35 * math.sin(4.6 * seconds + fourth)
    zoom = 1 + 0.05 * min(1.0, 4 * abs(progress))
    return Pose(zoom, zoom, (0.9 * x, 0.9 * y), roll=0.002 * min(1.0, 4 * abs(progress)) * x)


def _drift(progress: float, _seconds: float, seed: int) -> Pose:
    """A slow push in, with a little of the open margin spent to one side."""
    angle = np.random.default_rng(seed).uniform(-0.35, 0.35) + (math.pi if seed % 2 else 0.0)
    x, y = math.cos(angle), math.sin(angle)
    sign = math.copysign(1.0, progress)
    reach = abs(progress)
    return Pose(
        1 + 0.08 * reach, 1 + 0.11 * reach, (0.35 * sign * x, 0.35 * sign * y), (0.45 * sign * x, 0.45 * sign * y)
    )


_POSES: dict[str, _Move] = {
    "truck_left": _sideways(-1, 0, 0.8),
    "truck_right": _sideways(1, 0, 0.8),
    "pan_left": _sideways(-1, 0, 0),
    "pan_right": _sideways(1, 0, 0),
    "tilt_up": _sideways(0, -1, 0),
    "tilt_down": _sideways(0, 1, 0),
    "pedestal_up": _sideways(0, -1, 0.6),
    "pedestal_down": _sideways(0, 1, 0.6),
    "crane_up": _sideways(0, -1, 0.9),
    "crane_down": _sideways(0, 1, 0.9),
    "roll_left": _roll(1),
    "roll_right": _roll(-1),
    "zoom_in": _inwards(0.25, 0.25, 1),
    "zoom_out": _inwards(0.25, 0.25, -1),
    "push_in": _inwards(0.10, 0.22, 1),
    "pull_out": _inwards(0.10, 0.22, -1),
    "orbit_left": _orbit(-1),
    "orbit_right": _orbit(1),
    "dolly_zoom": _dolly_zoom,
    "static": _static,
    "handheld": _handheld,
}

"""Things of one colour: optical flow is blind within them (the aperture problem), their shape says where they were.

All of it is in pixels of the proxies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.foreground import Mask, grown
from longtake.frames import Plane

Corner = tuple[int, int]
Numbers = npt.NDArray[np.float64]

_RIMS = 3, 2
"""Pixels within the outline of a thing, and of a small one, that may be mixed with what is behind it."""
_RIM = 1
"""Pixels around what is of its colour that belong to it."""
_LEAST_INSIDE = 12
_EVEN_LEVELS = 6.0
"""Levels by which nine tenths of a thing may differ from its own median, so that it is of one colour."""
_RING = 4
"""Pixels around a thing, but for the nearest, that are not of its colour."""
_OTHER_LEVELS = 24.0
"""What differs by more is something else, whatever it is: a thing may be half covered (truncated squares)."""
_OTHER = 0.5
"""So much of that, and what is close around a thing is not of its colour."""
_FAR, _NEAR = 16, 3
"""Pixels within which the first earlier place is looked for, and each further one, around where it would have been."""
_STEADY_STEPS = 2
_TURNS = 0.5
"""Of its last step: so much another one may differ."""
_MOST_COVERED = 0.7
"""Of its area: where more is not of its colour, it is not seen."""
_PULL = 0.002
"""By so much of the most that it can differ costs each squared pixel away from where it would have been."""


class Flat:
    """A thing of the last frame that is of one colour, looked for in earlier frames."""

    def __init__(self, mask: Mask, level: float, last: Plane) -> None:
        left, top, width, height = cv2.boundingRect(mask)
        self._left, self._top, self._size = left - _RING, top - _RING, (width + 2 * _RING, height + 2 * _RING)
        self._level, self._area = np.float32(level), float(np.count_nonzero(mask))
        self._looks = self._apart(last, (self._left, self._top), 0)
        wide = np.asarray(cv2.copyMakeBorder(mask, *4 * (_RING,), cv2.BORDER_CONSTANT, value=0), np.uint8)
        own = np.asarray(wide[top : top + self._size[1], left : left + self._size[0]], np.uint8)
        self._counts = np.asarray(own | (grown(own, _RING) & np.asarray(self._looks > _OTHER, np.uint8)), np.float32)

    @classmethod
    def of(cls, mask: Mask, last: Plane) -> Flat | None:
        """None where it has texture, which says more, or is too small to tell."""
        for rim in _RIMS:
            room = np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)
            inside = last[cv2.erode(mask, room, borderValue=0) > 0].astype(np.float32)
            if inside.size >= _LEAST_INSIDE:
                level = float(np.median(inside))
                is_even = float(np.quantile(np.abs(inside - level), 0.9)) <= _EVEN_LEVELS
                return cls(mask, level, last) if is_even else None
        return None

    def own(self, mask: Mask, last: Plane) -> Mask:
        """All of it in the last frame: what is of its colour, a rim, and places where it looks like what is behind it,
        but not what it has laid bare."""
        alike = np.asarray(np.abs(last.astype(np.float32) - self._level) < _OTHER_LEVELS, np.uint8)
        outlines = cv2.findContours(mask & grown(alike, _RIM), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        filled = np.zeros_like(mask)
        cv2.drawContours(filled, outlines, -1, 1, -1)
        return np.asarray(filled & grown(alike, _RIM), np.uint8)

    def next(self, path: Sequence[Numbers], luma: Plane) -> Numbers | None:
        """Where it was in the frame before the last one on `path`, near to where it would have been at its speed; None
        where too little of it is seen there."""
        before = path[-1 - _STEADY_STEPS :]
        step = (before[-1] - before[0]) / max(len(before) - 1, 1)
        guess = path[-1] + step
        reach = _NEAR + math.ceil(_TURNS * float(np.linalg.norm(step))) if len(path) > 1 else _FAR
        x, y = (round(float(value)) for value in guess)
        rows, columns = np.ogrid[-reach : reach + 1, -reach : reach + 1]
        window = self._apart(luma, (self._left + x - reach, self._top + y - reach), reach)
        cost = np.asarray(cv2.matchTemplate(window, self._looks, cv2.TM_SQDIFF, mask=self._counts), np.float64)
        pull = (columns + x - guess[0]) ** 2 + (rows + y - guess[1]) ** 2
        cost += _PULL * (3 / reach) ** 2 * self._area * pull
        row, column = (int(place) for place in np.unravel_index(int(np.argmin(cost)), cost.shape))
        if not (0 < row < 2 * reach and 0 < column < 2 * reach):
            return None
        if cost[row, column] > _MOST_COVERED * self._area:
            return None
        finer = vertex(cost[row, column - 1 : column + 2]), vertex(cost[row - 1 : row + 2, column])
        return np.array([x + column - reach + finer[0], y + row - reach + finer[1]])

    def _apart(self, luma: Plane, at: Corner, reach: int) -> npt.NDArray[np.float32]:
        """0 to 1: how much the pixels from `at` on differ from its colour; beyond the border, where nothing is known,
        half."""
        width, height = self._size
        made = np.full((height + 2 * reach, width + 2 * reach), 0.5, np.float32)
        rows, columns = luma.shape
        left, top = max(0, at[0]), max(0, at[1])
        right, bottom = min(columns, at[0] + made.shape[1]), min(rows, at[1] + made.shape[0])
        if right > left and bottom > top:
            apart = (luma[top:bottom, left:right].astype(np.float32) - self._level) / np.float32(_OTHER_LEVELS)
            made[top - at[1] : bottom - at[1], left - at[0] : right - at[0]] = np.minimum(apart * apart, 1)
        return made


def vertex(three: Numbers) -> float:
    """Where the parabola through three neighbours is lowest, seen from the middle one."""
    low, middle, high = (float(value) for value in three)
    bend = low - 2 * middle + high
    return 0.5 * (low - high) / bend if bend > 1e-6 else 0.0

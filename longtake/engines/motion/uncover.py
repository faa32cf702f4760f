"""What is behind a thing that passes: seen in other frames, or made up from what lies around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.actors import Actor
from longtake.engines.motion.foreground import (
    SAMPLES,
    Foreground,
    Mask,
    difference,
    grown,
    median_of_nine,
    opened,
    spread,
)
from longtake.engines.motion.frame import Map
from longtake.engines.motion.patience import go_on
from longtake.frames import Plane

_AROUND = 4
"""Proxy pixels around an actor that are uncovered with it."""
_RIM = 8
"""The width of the rim by which what is uncovered is fitted to what lies around it."""
_MOST_FIT = 24.0
"""Levels: a rim that differs by more shows something else."""
_MOST_UNSEEN = 0.3
_MOST_MADE_UP = 0.7
_PLAIN = 6.0
"""Levels of luma by which a plain surface departs from its own mean close by."""
_FIT_SIDE = 64
_WHOLE = 0.25
"""Of an actor's size: how far it may reach beyond what is seen of it in the last frame."""
_SOFT = 1.5
_SAME = 1 / 255
_ALMOST = 0.95
"""Frames that show so much of the most that any shows are as good as that one."""
_VIEWS = 48
"""At most about so many frames are asked what they show."""
_GAPS = 0.4
"""Of an actor's size: gaps that are narrower belong to it."""


@dataclass(frozen=True)
class Opening:
    """A place in the picture, and the frames that show what is behind it."""

    hole: Mask
    rim: Mask
    """Around it."""
    views: list[tuple[int, Mask]]
    """Frames, and where each shows the scene."""

    def fill(self, plane: Plane, shown: Callable[[int, Part], Plane]) -> None:
        """Lays what is behind over the place in `plane`, of any size: the median of what the views show there (`shown`:
        frame, part of the plane), fitted to what lies around it; what no frame shows is filled in from the sides."""
        part = Part(plane.shape, self.hole.shape, cv2.boundingRect(self.hole | self.rim))
        here = plane[part.where].astype(np.float32)
        free = [part.of(mask) > 0.5 for _, mask in self.views]
        seen = [shown(index, part) for index, _ in self.views]
        count, mean = np.zeros(here.shape, np.float32), np.zeros(here.shape, np.float32)
        for known, look in zip(free, seen, strict=True):
            count += known
            mean += known * look
        mean /= np.maximum(count, 1)
        chosen = [np.where(known, look, mean).astype(np.uint8) for known, look in zip(free, seen, strict=True)]
        behind = median_of_nine([chosen[place] for place in spread(len(chosen))].__getitem__).astype(np.float32)
        around = (part.of(self.rim) > 0.5) & (count > 0) & (np.abs(here - behind) < _MOST_FIT)
        behind = np.clip(behind + _spread_in(here - behind, around), 0, 255)
        share = part.of(np.asarray(cv2.GaussianBlur(self.hole.astype(np.float32), (0, 0), _SOFT), np.float32))
        unseen = (count == 0) & (share > _SAME)
        if unseen.any():
            # What no frame shows is made up of what lies around it, without detail.
            behind = np.where(unseen, _spread_in(np.where(share > 0.5, behind, here), ~unseen), behind)
        plane[part.where] = np.clip(here + share * (behind - here) + 0.5, 0, 255).astype(np.uint8)


def opening(actor: Actor, front: Foreground) -> Opening | None:
    """None where no frame shows enough of what lies right behind an actor, and what lies around it is not plain."""
    go_on()
    hole = _hole(actor, front)
    rim = np.asarray(grown(hole, _RIM) - hole, np.uint8)
    views = _views(actor, hole, front)
    seen = np.maximum.reduce([mask for _, mask in views])
    unseen = 1 - float(np.mean(seen[actor.own > 0]))
    if unseen >= _MOST_UNSEEN:
        detail = front.lumas[-1] - cv2.GaussianBlur(front.lumas[-1].astype(np.float32), (0, 0), 3.0)
        if unseen >= _MOST_MADE_UP or not rim.any() or float(detail[rim > 0].std()) >= _PLAIN:
            return None
    return Opening(hole, rim, views)


class Part:
    """A box of the grid of proxies, on a plane of another size."""

    def __init__(self, plane: tuple[int, ...], grid: tuple[int, ...], box: Sequence[int]) -> None:
        left, top, width, height = box
        self._grid = (slice(top, top + height), slice(left, left + width))
        x, y = plane[1] / grid[1], plane[0] / grid[0]
        low = math.floor(left * x), math.floor(top * y)
        # Rounding may reach beyond the border by one.
        high = min(plane[1], math.ceil((left + width) * x)), min(plane[0], math.ceil((top + height) * y))
        self._size = (high[0] - low[0], high[1] - low[1])
        self.where = (slice(low[1], high[1]), slice(low[0], high[0]))

    def of(self, values: Mask | Map) -> Map:
        """The box of a map on the grid, brought to the plane's resolution."""
        inner = np.ascontiguousarray(values[self._grid], dtype=np.float32)
        return np.asarray(cv2.resize(inner, self._size, interpolation=cv2.INTER_LINEAR), np.float32)


def _hole(actor: Actor, front: Foreground) -> Mask:
    """What is uncovered with an actor: its gaps too, where it may look like what is behind it, but nobody else."""
    left, top, right, bottom = actor.box
    seen = actor.own.copy()
    seen[top:bottom, left:right] |= np.asarray(actor.looks[0].matte > 0.05, np.uint8)
    side = round(_GAPS * math.sqrt(np.count_nonzero(seen))) | 1
    room = np.asarray(cv2.copyMakeBorder(seen, side, side, side, side, cv2.BORDER_CONSTANT, value=0), np.uint8)
    closed = cv2.morphologyEx(room, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))[side:-side, side:-side]
    others = opened(front.masks[-1] & (1 - grown(seen, 1)), 3)
    return grown(np.ascontiguousarray(closed), _AROUND) & (1 - others)


def _views(actor: Actor, hole: Mask, front: Foreground) -> list[tuple[int, Mask]]:
    """Frames that show what is behind an actor, as many and as far apart as there are, and where they do."""
    count, path = len(front.masks), len(actor.path)
    stood = _left_behind(actor, front) if actor.stood else np.zeros_like(hole)
    free: dict[int, Mask] = {}
    for back in range(0, count, max(1, count // _VIEWS)):
        taken = front.masks[count - 1 - back] | stood
        if back < path:
            taken = taken | grown(actor.was(back), _AROUND)
        free[count - 1 - back] = np.asarray(1 - grown(np.asarray(taken, np.uint8), 1), np.uint8)
    shown = {index: int(np.count_nonzero(mask & hole)) for index, mask in free.items()}
    order = sorted(shown, key=lambda index: -shown[index])
    enough = [index for index in order if shown[index] >= _ALMOST * shown[order[0]]]
    chosen = sorted(enough if len(enough) >= SAMPLES else order[:SAMPLES])
    return [(index, free[index]) for index in sorted({chosen[place] for place in spread(len(chosen))})]


def _left_behind(actor: Actor, front: Foreground) -> Mask:
    """Where an actor stood when its path began, whole: what has changed there since, and what stands for it."""
    first = actor.was(len(actor.path) - 1)
    near = grown(first, round(_WHOLE * math.sqrt(np.count_nonzero(actor.own))))
    changed = np.asarray(difference(front.lumas[-len(actor.path)], front.lumas[-1]) > front.threshold, np.uint8)
    return grown(np.asarray(first | (near & changed), np.uint8), _AROUND)


def _spread_in(values: Map, known: npt.NDArray[np.bool_]) -> Map:
    """Values known at some places, brought smoothly to all others (normalised convolution, Knutsson and Westin
    1993), so that what is laid in fits its surroundings everywhere."""
    size = (min(_FIT_SIDE, known.shape[1]), min(_FIT_SIDE, known.shape[0]))
    inner = known.astype(np.float32)
    weight = cv2.resize(inner, size, interpolation=cv2.INTER_AREA)
    value = cv2.resize(inner * values, size, interpolation=cv2.INTER_AREA)
    total, count = np.zeros(weight.shape, np.float32), np.full(weight.shape, 1e-6, np.float32)
    for radius in (2.0, 6.0, 18.0):
        share = np.float32(0.03 ** math.log(radius / 2, 3))
        total += share * np.asarray(cv2.GaussianBlur(value, (0, 0), radius), np.float32)
        count += share * np.asarray(cv2.GaussianBlur(weight, (0, 0), radius), np.float32)
    return np.asarray(cv2.resize(total / count, known.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)

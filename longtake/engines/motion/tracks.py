"""Where a thing that moves has been: its path back through a clip's frames, and which part of a mask goes along it.

Flow says about where it was, and its looks in the last frame say exactly, so that no error adds up on the way back. All
of it is in pixels of the proxies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.flat import Flat, vertex
from longtake.engines.motion.flow import quick_flow
from longtake.engines.motion.foreground import Foreground, Mask, opened
from longtake.engines.motion.frame import Field, stretch
from longtake.engines.motion.patience import go_on
from longtake.frames import Plane

Numbers = npt.NDArray[np.float64]
FlowBack = Callable[[int], Field]
"""Frames before the last one → the flow from there to the frame before."""

_ROOM = 32
"""Pixels around what moves in which its earlier place is looked for by flow."""
_LEAST_HALF = 32
_SEARCH = 3
"""Pixels around where flow says it was that a thing's earlier place is looked for."""
_FOUND_AGAIN = 0.4
"""The share of a thing that must lie on what moves in an earlier frame."""
_TOLD_APART = 6.0
"""Pixels of way after which what moves can be told from what stands."""
_MOVING_PIXELS = 0.5
_AGAINST = 0.5
_LEAST_PART = 0.15
_CLEARLY = 0.7
"""How much smaller one difference has to be than another to tell that it is the right one."""
_FAR = 0.25
_FOOT = 0.15
"""Of a thing's size: what stands and is smaller belongs to it all the same."""


class FlowsBack:
    """The flow of each frame to the one before it, from the last frame on; measured when first asked for, and only
    around what moves."""

    def __init__(self, front: Foreground) -> None:
        self._front = front
        self._known: dict[int, Field] = {}

    def __call__(self, back: int) -> Field:
        """The flow of the frame `back` frames before the last, in its pixels; zero where nothing moves."""
        if back not in self._known:
            go_on()
            later, earlier = self._front.lumas[-1 - back], self._front.lumas[-2 - back]
            left, top, width, height = cv2.boundingRect(self._front.masks[-1 - back])
            rows = slice(max(0, top - _ROOM), top + height + _ROOM)
            columns = slice(max(0, left - _ROOM), left + width + _ROOM)
            flow = np.zeros((*later.shape, 2), np.float32)
            flow[rows, columns] = _coarse_flow(later[rows, columns], earlier[rows, columns])
            self._known[back] = flow
        return self._known[back]


def _coarse_flow(source: Plane, target: Plane) -> Field:
    """As `quick_flow`, in a quarter of the time, at half the size: where a thing as a whole has gone, its median says
    as well."""
    size = (source.shape[1], source.shape[0])
    half = (size[0] // 2, size[1] // 2)
    if min(half) < _LEAST_HALF:
        return quick_flow(np.ascontiguousarray(source), np.ascontiguousarray(target))
    small = (np.asarray(cv2.resize(plane, half, interpolation=cv2.INTER_AREA), np.uint8) for plane in (source, target))
    flow = quick_flow(*small) * np.array([size[0] / half[0], size[1] / half[1]], np.float32)
    return stretch(np.asarray(flow, np.float32), size)


def path_of(mask: Mask, front: Foreground, flow_back: FlowBack, length: int, *, refined: bool) -> Numbers:
    """(frames, 2): where the thing was 0, 1, … frames ago, seen from the last frame; as far back as it is found, and at
    most `length` frames.

    `refined`: looked for around where flow says, by its looks in the last frame, so that no error adds up. What is of
    one colour is always looked for by its shape: flow is blind within it.
    """
    rows, columns = np.nonzero(mask)
    at, path = np.zeros(2), [np.zeros(2)]
    flat = Flat.of(mask, front.lumas[-1])
    search = _Search(mask, front.lumas[-1]) if refined else None
    for back in range(min(length, len(front.lumas) - 1)):
        x, y = np.rint(columns + at[0]).astype(int), np.rint(rows + at[1]).astype(int)
        inside = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
        x, y = x[inside], y[inside]
        there = front.masks[-1 - back][y, x] > 0
        if np.count_nonzero(there) < _FOUND_AGAIN * len(columns):
            break
        if flat is not None:
            earlier = flat.next(path, front.lumas[-2 - back])
            if earlier is None:
                break
            at = earlier
        else:
            at = at + np.median(flow_back(back)[y[there], x[there]], axis=0)
            if search is not None:
                at = search.near(at, front.lumas[-2 - back])
        path.append(at)
    return np.array(path)


class _Search:
    """Looks for a thing of the last frame in others, by squared differences within its mask."""

    def __init__(self, mask: Mask, last: Plane) -> None:
        self._left, self._top, width, height = cv2.boundingRect(mask)
        part = (slice(self._top, self._top + height), slice(self._left, self._left + width))
        self._looks = last[part].astype(np.float32)
        self._mask = mask[part].astype(np.float32)

    def near(self, moved: Numbers, luma: Plane) -> Numbers:
        """Its place, seen from its place in the last frame, nearest to `moved`, which is kept where none is better."""
        x, y = (round(float(value)) for value in moved)
        height, width = self._mask.shape
        left, top = self._left + x - _SEARCH, self._top + y - _SEARCH
        right, bottom = left + width + 2 * _SEARCH, top + height + 2 * _SEARCH
        if left < 0 or top < 0 or right > luma.shape[1] or bottom > luma.shape[0]:
            return moved
        window = luma[top:bottom, left:right].astype(np.float32)
        error = np.asarray(cv2.matchTemplate(window, self._looks, cv2.TM_SQDIFF, mask=self._mask), np.float64)
        row, column = (int(place) for place in np.unravel_index(int(np.argmin(error)), error.shape))
        if not (0 < row < 2 * _SEARCH and 0 < column < 2 * _SEARCH):
            return moved
        finer = (vertex(error[row, column - 1 : column + 2]), vertex(error[row - 1 : row + 2, column]))
        return np.array([x + column - _SEARCH + finer[0], y + row - _SEARCH + finer[1]])


def velocity_of(path: Numbers) -> Numbers:
    """Pixels a frame, forward in time: the median over all pairs of frames (Theil and Sen), so that a frame that came
    late or twice does not count."""
    later, earlier = np.triu_indices(len(path), 1)
    return np.asarray(np.median((path[later] - path[earlier]) / (earlier - later)[:, None], axis=0))


def wobble(path: Numbers, velocity: Numbers) -> float:
    apart = path + np.arange(len(path))[:, None] * velocity
    return float(np.sqrt(np.mean(np.sum((apart - apart.mean(axis=0)) ** 2, axis=1))))


def parted(mask: Mask, flow: Field) -> list[Mask]:
    """A piece of what moves, or its two parts where they move against each other: things that only touch."""
    speed = np.linalg.norm(flow, axis=-1)
    moves = (mask > 0) & (speed > _MOVING_PIXELS)
    if not moves.any():
        return [mask]
    way = np.median(flow[moves], axis=0)
    along = flow @ (way / max(float(np.linalg.norm(way)), 1e-6)).astype(np.float32)
    against = opened(np.asarray(moves & (along < -_AGAINST * speed), np.uint8), 3)
    with_it = opened(np.asarray(moves & (along > _AGAINST * speed), np.uint8), 3)
    if min(np.count_nonzero(against), np.count_nonzero(with_it)) < _LEAST_PART * np.count_nonzero(mask):
        return [mask]
    near = [cv2.distanceTransform(1 - part, cv2.DIST_L2, 3) for part in (with_it, against)]
    closer = np.asarray(near[0] <= near[1], np.uint8)
    return [np.asarray(mask & closer, np.uint8), np.asarray(mask & (1 - closer), np.uint8)]


def moving_part(mask: Mask, front: Foreground, path: Numbers) -> Mask:
    """The part of a mask that moves along `path`: not what has been left behind or laid bare.

    A pixel moves where the frame a few pixels of way ago fits better moved than as it was; what is plain fits both ways
    and goes with what is next to it. What is of one colour is told by its colour.
    """
    flat = Flat.of(mask, front.lumas[-1])
    if flat is not None:
        return flat.own(mask, front.lumas[-1])
    far = int(np.argmax(np.linalg.norm(path, axis=1) >= _TOLD_APART)) or len(path) - 1
    last, before = front.lumas[-1], front.lumas[-1 - far]
    shift = np.array([[1, 0, path[far][0]], [0, 1, path[far][1]]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    along = cv2.warpAffine(before, shift, last.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    by_moving, by_standing = _differences(last, np.asarray(along, np.uint8)), _differences(last, before)
    moves = (mask > 0) & (by_moving < _CLEARLY * by_standing - 0.5)
    stands = (mask > 0) & (by_standing < np.minimum(_CLEARLY * by_moving - 0.5, 0.5 * front.threshold))
    if not moves.any():
        return np.zeros_like(mask)
    if not stands.any():
        return mask
    near = [cv2.distanceTransform(np.asarray(~which, np.uint8), cv2.DIST_L2, 3) for which in (moves, stands)]
    size = math.sqrt(np.count_nonzero(mask))
    stale = np.asarray((mask > 0) & (near[0] > near[1]), np.uint8)
    # A foot that stands while its owner walks is small and close to the rest, and stays.
    large = opened(stale, max(3, round(_FOOT * size)) | 1)
    rest = np.asarray(mask & (1 - large) & (1 - (stale & (near[0] > _FAR * size))), np.uint8)
    found, labels, stats, _ = cv2.connectedComponentsWithStats(rest)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return np.asarray(np.isin(labels, 1 + np.flatnonzero(areas > 0.2 * areas.max())), np.uint8) if found > 1 else rest


def _differences(a: Plane, b: Plane) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.blur(cv2.absdiff(a, b).astype(np.float32), (9, 9)), np.float32)

"""Where several things move, each in its own place: the picture parted into regions, each of which goes on by itself.

A region is where the picture has changed at any time in the clip's end, in one piece; between regions nothing has ever
changed, so that whatever moments of the clip two neighbours show, they meet without a seam (a video texture for each
region: Schödl et al., "Video Textures", 2000).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.foreground import Mask, grown
from longtake.engines.motion.frame import Box, Frame, Map
from longtake.engines.motion.patience import go_on
from longtake.engines.motion.tail import Tail
from longtake.engines.motion.threads import each
from longtake.frames import Frames, Plane

MOST_REGIONS = 6
_CHANGE_LEVELS, _NOISE_FACTOR = 10, 2.0
"""A pixel has changed that has ranged over more levels, and over this many times the picture's median range."""
_MOST_CHANGED = 0.6
"""Of the picture: where more has changed, nothing stands around it."""
_REACH = 5
"""Proxy pixels: what is nearer than twice as far is one thing."""
_FEATHER = 8.0
"""Proxy pixels: half of what a region fades out over, or on either side of the line half-way to another."""
_LEAST_AREA, _LEAST_SHARE = 0.0015, 0.02
"""A region is at least so much of the picture, and of all that changes; what is smaller goes with its neighbour."""
_TOGETHER = 0.7
"""Two places whose change from frame to frame correlates more move together, as a thing and its shadow do."""
_LIGHT_SIDE, _MOST_LIGHT = 15, 4.0
"""Levels: by more the light between two regions may not have changed."""
_LEAST_CORNERS, _LEAST_SPREAD = 12, 0.08
_CHANGE_SECONDS = 0.1


Labels = npt.NDArray[np.int32]
Changes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Region:
    """One part of a picture, on the grid of the proxies."""

    matte: Map
    """How much of each pixel is shown of this region where it goes its own way: 0 to 1; no two overlap much."""
    change: float
    """Its share of all that changes from frame to frame."""

    def box(self, tail: Tail) -> Box:
        """Around all that is this region's, in luma pixels."""
        rows, columns = self.matte.shape
        across, down = tail.frames.width / columns, tail.frames.height / rows
        y, x = np.flatnonzero(self.matte.any(axis=1)), np.flatnonzero(self.matte.any(axis=0))
        left, top = int(max(0, x[0] - 1) * across) // 2 * 2, int(max(0, y[0] - 1) * down) // 2 * 2
        right = min(tail.frames.width, math.ceil((x[-1] + 2) * across / 2) * 2)
        return Box(left, top, right, min(tail.frames.height, math.ceil((y[-1] + 2) * down / 2) * 2))


@dataclass(frozen=True, slots=True)
class Part(Tail):
    """What a box of a tail's pictures shows."""

    whole: Tail
    box: Box

    @property
    def share(self) -> float:
        return self.frames.width * self.frames.height / (self.whole.frames.width * self.whole.frames.height)

    def picture(self, index: int) -> Frame:
        planes = zip(self.whole.picture(index), _boxes(self.box), strict=True)
        return Frame(*(plane[box.where] for plane, box in planes))


def regions(tail: Tail, frame_rate: float) -> list[Region]:
    """Two or more, the one that changes most first; none where the picture does not fall apart, or the camera moves."""
    changed = _changed(tail.proxies)
    if np.count_nonzero(changed) > _MOST_CHANGED * changed.size:
        return []
    count, near, stats = _pieces(changed)
    area = np.bincount(near.ravel(), changed.ravel(), count)
    large = np.flatnonzero((area >= _LEAST_AREA * changed.size) & (np.arange(count) > 0))
    if len(large) < 2 or not _camera_stands(tail.proxies[-1], changed):
        return []
    change = _change(near, count, tail.proxies, max(1, round(_CHANGE_SECONDS * frame_rate)))
    groups = _together([int(index) for index in large], change)
    if len(groups) < 2:
        return []
    region = np.zeros(count, np.int32)
    for number, group in enumerate(groups, 1):
        region[group] = number
    labels = np.asarray(np.where(changed > 0, region[near], 0), np.int32)
    _join_small(labels, near, changed, stats, [index for index in range(1, count) if not region[index]])
    mattes = _mattes(labels, len(groups))
    between = np.logical_or.reduce([(matte > 0) & (matte < 1) for matte in mattes])
    if float(np.percentile(_range(each(partial(_evened, _LIGHT_SIDE), tail.proxies[::3]))[between], 90)) > _MOST_LIGHT:
        return []
    shares = [float(change[group].sum() / max(float(change.sum()), 1e-6)) for group in groups]
    return [Region(matte, share) for matte, share in zip(mattes, shares, strict=True)]


def part(tail: Tail, matte: Map, box: Box) -> Tail:
    """What a box of a picture shows; what is not of the matte stands still in its proxies."""
    rows, columns = matte.shape
    left, right = (round(x * columns / tail.frames.width) for x in (box.left, box.right))
    top, bottom = (round(y * rows / tail.frames.height) for y in (box.top, box.bottom))
    where = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
    stands, last = np.ascontiguousarray(matte[where] < 0.5), tail.proxies[-1][where]

    def seen(luma: Plane) -> Plane:
        go_on()
        return np.asarray(np.where(stands, last, luma[where]), np.uint8)

    planes = (plane[:, *half.where] for plane, half in zip(tail.frames.planes, _boxes(box), strict=True))
    return Part(Frames(tuple(planes), tail.frames.colour), each(seen, tail.proxies), tail, box)


def _boxes(box: Box) -> tuple[Box, Box, Box]:
    return box, box.halved(), box.halved()


def _changed(proxies: Sequence[Plane]) -> Mask:
    """Where the picture has changed by more than the noise."""
    reach = _range(each(partial(_evened, 5), proxies))
    return np.asarray(reach > max(_CHANGE_LEVELS, _NOISE_FACTOR * float(np.median(reach))), np.uint8)


def _evened(side: int, luma: Plane) -> Plane:
    go_on()
    return np.asarray(cv2.blur(luma, (side, side)), np.uint8)


def _range(planes: Sequence[Plane]) -> Map:
    low, high = planes[0], planes[0]
    for plane in planes[1:]:
        low, high = np.asarray(cv2.min(low, plane), np.uint8), np.asarray(cv2.max(high, plane), np.uint8)
    return np.asarray(high - low, np.float32)


def _camera_stands(last: Plane, changed: Mask) -> bool:
    """Whether corners spread over the picture have never changed: under a camera that moves all of them do."""
    corners = cv2.goodFeaturesToTrack(last, 300, 0.01, 6, mask=np.asarray(255 * (1 - grown(changed, 2)), np.uint8))
    if corners is None or len(corners) < _LEAST_CORNERS:
        return False
    spread = np.ptp(np.asarray(corners, np.float32)[:, 0], axis=0)
    return bool(spread[0] * spread[1] >= _LEAST_SPREAD * last.size)


def _pieces(changed: Mask) -> tuple[int, Labels, Labels]:
    """How many labels there are (0: where nothing has changed), the labels, and what OpenCV says of each."""
    count, near, stats, _ = cv2.connectedComponentsWithStats(grown(changed, _REACH))
    return count, np.asarray(near, np.int32), np.asarray(stats, np.int32)


def _change(near: Labels, count: int, proxies: Sequence[Plane], lag: int) -> Changes:
    """(labels, times): how much each piece changes over `lag` frames, at each time."""
    flat, changes = near.ravel(), []
    for at in range(lag, len(proxies), max(1, lag // 2)):
        go_on()
        step = cv2.absdiff(proxies[at], proxies[at - lag])
        changes.append(np.bincount(flat, step.ravel(), count))
    change = np.asarray(np.array(changes).T, np.float64)
    change[0] = 0
    return change


def _together(pieces: Sequence[int], change: Changes) -> list[list[int]]:
    """Those that change enough, of which what moves together is one (single linkage); what changes most first."""
    total = change.sum(axis=1)
    order = [
        index for index in sorted(pieces, key=lambda index: -total[index]) if total[index] >= _LEAST_SHARE * total.sum()
    ]
    groups: list[list[int]] = []
    for index in order[:MOST_REGIONS]:
        alike = [group for group in groups if any(_correlated(change[index], change[other]) for other in group)]
        apart = [group for group in groups if not any(group is one for one in alike)]
        groups = [*apart, [index, *(one for group in alike for one in group)]]
    return sorted(groups, key=lambda group: -float(total[group].sum()))


def _join_small(labels: Labels, near: Labels, changed: Mask, stats: Labels, small: Sequence[int]) -> None:
    """What is too small to be a region goes with the nearest one, whole."""
    away = np.stack([_distance(labels == number) for number in range(1, int(labels.max()) + 1)])
    for index in small:
        x, y, width, height = (int(value) for value in stats[index, :4])
        where = slice(y, y + height), slice(x, x + width)
        there = (near[where] == index) & (changed[where] > 0)
        if there.any():
            labels[where][there] = 1 + int(np.argmin([plane[where][there].min() for plane in away]))


def _correlated(a: Changes, b: Changes) -> bool:
    if len(a) < 3 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return False
    return float(np.corrcoef(a, b)[0, 1]) > _TOGETHER


def _mattes(labels: Labels, count: int) -> list[Map]:
    """Each region whole, and what stands around it less and less, at most as far as to where another is nearer."""
    away = np.stack([_distance(labels == number) for number in range(1, count + 1)])
    mattes = []
    for number in range(count):
        others = np.delete(away, number, axis=0).min(axis=0)
        reach = np.minimum(others - away[number], 2 * _FEATHER - away[number]) / (2 * _FEATHER)
        share = np.clip(0.5 + reach, 0, 1)
        mattes.append(np.asarray(share * share * (3 - 2 * share), np.float32))
    return mattes


def _distance(there: npt.NDArray[np.bool_]) -> Map:
    return np.asarray(cv2.distanceTransform(np.asarray(~there, np.uint8), cv2.DIST_L2, 5), np.float32)

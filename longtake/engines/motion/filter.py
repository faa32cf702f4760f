"""A coloured filter before the proxies: a red ball on a lawn has the lawn's luma, and luma alone does not see it.

As a photographer in black and white parts red from green by a filter, so much of either chroma plane is added to the
luma that what differs from the scene in its colour shows. Where luma shows all that does, no filter is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.foreground import Mask, difference, median_of_nine, opened, spread
from longtake.engines.motion.frame import Frame, frame_at, grid_size
from longtake.engines.motion.threads import each
from longtake.frames import Frames, Plane

_SIDE = 240
"""Pixels of the longer side on which it is asked whether luma shows all."""
_DIRECTIONS = 12
_LEAST_LEVELS, _LEAST_CHROMA_LEVELS = 8.0, 10.0
_NOISE_FACTOR = 4.0
_LEAST_AREA, _MOST_AREA = 0.0005, 0.35
"""Of the picture: a thing that may ask for a filter."""
_SHOWN_BY_LUMA = 0.75
"""A thing of which luma shows so much of its area is seen without a filter."""
_SHOWN_BY_FILTER = 0.85
"""A filter that shows less of any is of no use."""
_LEAST_HIDDEN = 0.1
"""Of all that differs, the share of things that luma does not show, from which on a filter is looked for."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Luma as seen through it is y + u_share * (u - 128) + v_share * (v - 128)."""

    u_share: float
    v_share: float

    def seen(self, picture: Frame, size: tuple[int, int]) -> Plane:
        """uint8 plane of (width, height) `size`."""
        y, u, v = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32) for plane in picture)
        return self.mix(y, u, v)

    def mix(self, y: npt.NDArray[np.float32], u: npt.NDArray[np.float32], v: npt.NDArray[np.float32]) -> Plane:
        """uint8, of the size of its planes, levels 0 to 255."""
        levels = y + np.float32(self.u_share) * (u - 128) + np.float32(self.v_share) * (v - 128)
        return np.asarray(np.clip(levels + 0.5, 0, 255), np.uint8)


def filter_for(clip: Frames) -> Filter | None:
    """The one through which what differs from the scene in a clip's last frame shows best; None where luma does."""
    size = grid_size((clip.width, clip.height), _SIDE)
    places = spread(clip.num_frames)
    small = each(partial(_small, clip, size), places)
    plates = Frame(*(median_of_nine([picture[channel] for picture in small].__getitem__) for channel in range(3)))
    apart = [Frame(*map(difference, picture, plates)) for picture in small]
    levels = [_threshold([frame[channel] for frame in apart], channel) for channel in range(3)]
    things = _things([np.asarray(plane > level, np.uint8) for plane, level in zip(apart[-1], levels, strict=True)])
    areas = np.array([np.count_nonzero(thing) for thing in things])
    hidden = np.array([_share(apart[-1].y > levels[0], thing) < _SHOWN_BY_LUMA for thing in things], bool)
    if not areas[hidden].sum() > _LEAST_HIDDEN * areas.sum():
        return None
    turns = (2 * math.pi * k / _DIRECTIONS for k in range(_DIRECTIONS))
    filters = [Filter(math.cos(turn), math.sin(turn)) for turn in turns]
    shown = [_shown(one, small[-1], plates, things, levels[0]) for one in filters]
    best = max(range(_DIRECTIONS), key=shown.__getitem__)
    return filters[best] if shown[best][0] >= _SHOWN_BY_FILTER else None


def _small(clip: Frames, size: tuple[int, int], index: int) -> Frame:
    planes = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in frame_at(clip, index))
    return Frame(*(np.asarray(plane, np.uint8) for plane in planes))


def _threshold(differences: list[Plane], channel: int) -> float:
    noise = float(np.median([np.median(plane) for plane in differences]))
    return max(_LEAST_CHROMA_LEVELS if channel else _LEAST_LEVELS, _NOISE_FACTOR * noise)


def _things(masks: list[Mask]) -> list[npt.NDArray[np.bool_]]:
    """The pieces of what differs in any way."""
    found, labels, stats, _ = cv2.connectedComponentsWithStats(opened(np.maximum.reduce(masks), 3))
    areas = stats[:, cv2.CC_STAT_AREA] / labels.size
    return [labels == index for index in range(1, found) if _LEAST_AREA <= areas[index] <= _MOST_AREA]


def _shown(
    one: Filter, picture: Frame, plates: Frame, things: list[npt.NDArray[np.bool_]], level: float
) -> tuple[float, float]:
    """The least share of any thing's area that it shows, and the least levels that it shows one by."""
    seen, scene = (one.mix(*(plane.astype(np.float32) for plane in planes)) for planes in (picture, plates))
    apart = difference(seen, scene)
    return min(_share(apart > level, thing) for thing in things), min(float(apart[thing].mean()) for thing in things)


def _share(shown: npt.NDArray[np.bool_], thing: npt.NDArray[np.bool_]) -> float:
    return float(shown[thing].mean())

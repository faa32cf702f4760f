"""A scene in front of a camera that stands, taken apart: what passes through goes on, each thing as a layer of its own;
behind it the scene goes on by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.actors import Actor, Look
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
from longtake.engines.motion.frame import Frame, Map
from longtake.engines.motion.tail import Tail
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
_VIEWS = 48
_GAPS = 0.4
"""Of an actor's size: gaps that are narrower belong to it."""

Place = npt.NDArray[np.float64]


@dataclass
class Layers:
    """The pictures of one clip, taken apart."""

    tail: Tail
    front: Foreground
    actors: Sequence[Actor]
    stays: Mask
    """Where the clip's own frames are shown, whatever moves there."""
    backdrop: Frame = field(init=False)
    """The last frame without the actors."""
    backdrop_proxy: Plane = field(init=False)

    def __post_init__(self) -> None:
        self.backdrop = Frame(*(plane.copy() for plane in self.tail.picture(-1)))
        for actor in self.actors:
            self._uncover(actor)
        size = (self.front.plate.shape[1], self.front.plate.shape[0])
        self.backdrop_proxy = np.asarray(cv2.resize(self.backdrop.y, size, interpolation=cv2.INTER_AREA), np.uint8)

    def changed(self, index: int) -> Mask:
        """Where frame `index` shows something else than the backdrop, and may not."""
        apart = difference(self.front.lumas[index], self.backdrop_proxy)
        _, mask = cv2.threshold(apart, self.front.threshold, 1, cv2.THRESH_BINARY)
        return grown(np.asarray(mask, np.uint8), 3) & (1 - self.stays)

    def background(self, index: int) -> Frame:
        """Frame `index` of the clip, with the backdrop wherever it shows something else."""
        frame, mask = self.tail.picture(index), self.changed(index)
        if not mask.any():
            return frame
        made = Frame(*(plane.copy() for plane in frame))
        _lay(made, self.backdrop, np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SOFT), np.float32))
        return made

    def compose(self, background: Frame, steps: int) -> Frame:
        """The picture `steps` frames after the last one (from 1): the actors in front of `background`."""
        made = Frame(*(plane.copy() for plane in background))
        for channel, plane in enumerate(made):
            for actor in self.actors:
                self._draw(plane, channel, actor, steps)
        return made

    def _draw(self, plane: Plane, channel: int, actor: Actor, steps: int) -> None:
        """Draws an actor where it has come to; each look is fetched at sub-pixel steps from the frame it is in."""
        rows, columns = self.front.plate.shape
        scale = np.array([plane.shape[1] / columns, plane.shape[0] / rows])
        place = np.array(actor.place(steps))
        low = np.maximum(np.floor((np.array(actor.box[:2]) + place) * scale), 0).astype(int)
        high = np.minimum(np.ceil((np.array(actor.box[2:]) + place) * scale), plane.shape[::-1]).astype(int)
        if np.any(high <= low):
            return
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        behind = plane[low[1] : high[1], low[0] : high[0]]
        made = behind.astype(np.float32)
        first, second, share = actor.look(steps)
        for look, weight in ((first, 1 - share), (second, share)):
            if weight > 0:
                source = self.tail.picture(look.frame)[channel]
                cover = _matte_at(look, actor, low, size, scale, place) * np.float32(weight)
                made += cover * (_seen_at(source, low - (place - look.moved) * scale, size) - behind)
        plane[low[1] : high[1], low[0] : high[0]] = np.clip(made + 0.5, 0, 255).astype(np.uint8)

    def _uncover(self, actor: Actor) -> None:
        """Lays what is behind an actor over its place in the backdrop: the median of what other frames show there,
        fitted to what lies around it; what no frame shows is filled in from the sides."""
        hole = _hole(actor, self.front)
        rim = np.asarray(grown(hole, _RIM) - hole, np.uint8)
        cover = np.asarray(cv2.GaussianBlur(hole.astype(np.float32), (0, 0), _SOFT), np.float32)
        views = _views(actor, hole, self.front)
        grid = cv2.boundingRect(hole + rim)
        for channel, plane in enumerate(self.backdrop):
            part = _Part(plane.shape, hole.shape, grid)
            here = plane[part.where].astype(np.float32)
            shown = [self._shown(index, channel, part) for index, _ in views]
            free = [part.of(mask) for _, mask in views]
            count = np.maximum(np.sum(free, axis=0), np.float32(1e-3))
            mean = np.sum([a * b for a, b in zip(shown, free, strict=True)], axis=0) / count
            chosen = [
                np.where(known > 0.5, seen, mean).astype(np.uint8) for seen, known in zip(shown, free, strict=True)
            ]
            behind = median_of_nine([chosen[place] for place in spread(len(chosen))].__getitem__).astype(np.float32)
            around = (part.of(rim) > 0.5) & (count > 0.5) & (np.abs(here - behind) < _MOST_FIT)
            behind = np.clip(behind + _spread_in(here - behind, around), 0, 255)
            share = part.of(cover)
            unseen = (count < 0.5) & (share > _SAME)
            if unseen.any():
                # What no frame shows is made up of what lies around it, without detail.
                behind = np.where(unseen, _spread_in(np.where(share > 0.5, behind, here), ~unseen), behind)
            plane[part.where] = np.clip(here + share * (behind - here) + 0.5, 0, 255).astype(np.uint8)

    def _shown(self, index: int, channel: int, part: _Part) -> Map:
        plane = np.ascontiguousarray(self.tail.picture(index)[channel][part.where])
        return (self.front.tones[index].undo(plane) if channel == 0 else plane).astype(np.float32)


def can_be_uncovered(actor: Actor, front: Foreground) -> bool:
    """Whether other frames show enough of what lies right behind an actor, or all around it is plain."""
    seen = np.maximum.reduce([mask for _, mask in _views(actor, actor.own, front)])
    unseen = 1 - float(np.mean(seen[actor.own > 0]))
    if unseen < _MOST_UNSEEN:
        return True
    hole = _hole(actor, front)
    rim = (grown(hole, _RIM) - hole) > 0
    detail = front.lumas[-1] - cv2.GaussianBlur(front.lumas[-1].astype(np.float32), (0, 0), 3.0)
    return unseen < _MOST_MADE_UP and float(detail[rim].std()) < _PLAIN


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


class _Part:
    """A box of the grid of proxies, on a plane of another size."""

    def __init__(self, plane: tuple[int, ...], grid: tuple[int, ...], box: Sequence[int]) -> None:
        left, top, width, height = box
        self._grid = (slice(top, top + height), slice(left, left + width))
        x, y = plane[1] / grid[1], plane[0] / grid[0]
        low, high = (
            (math.floor(left * x), math.floor(top * y)),
            (math.ceil((left + width) * x), math.ceil((top + height) * y)),
        )
        self._size = (high[0] - low[0], high[1] - low[1])
        self.where = (slice(low[1], high[1]), slice(low[0], high[0]))

    def of(self, values: Mask | Map) -> Map:
        """The box of a map on the grid, brought to the plane's resolution."""
        inner = np.ascontiguousarray(values[self._grid], dtype=np.float32)
        return np.asarray(cv2.resize(inner, self._size, interpolation=cv2.INTER_LINEAR), np.float32)


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


def _lay(made: Frame, other: Frame, cover: Map) -> None:
    """Mixes `other` into `made` by `cover`, 0 to 1, on the grid of proxies; only where there is any."""
    box = cv2.boundingRect(np.asarray(cover > _SAME, np.uint8))
    for plane, over in zip(made, other, strict=True):
        part = _Part(plane.shape, cover.shape, box)
        share = part.of(cover)
        below, above = np.ascontiguousarray(plane[part.where]), np.ascontiguousarray(over[part.where])
        plane[part.where] = cv2.blendLinear(below, above, 1 - share, share)


def _seen_at(source: Plane, start: Place, size: tuple[int, int]) -> Map:
    """The part of `source`, of (width, height) `size`, whose first pixel lies at `start`."""
    shift = np.array([[1, 0, start[0]], [0, 1, start[1]]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(source, shift, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _matte_at(look: Look, actor: Actor, low: Place, size: tuple[int, int], scale: Place, place: Place) -> Map:
    """A look's matte, brought to a plane's resolution and to where the actor is."""
    moved = np.array(look.moved)
    start = (low + 0.5) / scale - 0.5 - place + moved - np.array(actor.box[:2]) - np.rint(moved)
    shift = np.array([[1 / scale[0], 0, start[0]], [0, 1 / scale[1], start[1]]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(look.matte, shift, size, flags=flags), np.float32)

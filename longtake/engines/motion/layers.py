"""A scene in front of a camera that stands, taken apart: what passes through goes on, each thing as a layer of its own;
behind it the scene goes on by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.actors import Actor, Look
from longtake.engines.motion.foreground import Foreground, Mask, difference, grown
from longtake.engines.motion.frame import Frame, Map, boxes_around, stretch
from longtake.engines.motion.tail import Tail
from longtake.engines.motion.uncover import Opening, Part
from longtake.frames import Plane

_SOFT = 1.5
_SAME = 1 / 255

Place = npt.NDArray[np.float64]


@dataclass
class Layers:
    """The pictures of one clip, taken apart."""

    tail: Tail
    front: Foreground
    actors: Sequence[Actor]
    """Nearest last."""
    openings: Sequence[Opening]
    """Behind each of them."""
    stays: Mask
    """Where the clip's own frames are shown, whatever moves there."""
    backdrop: Frame = field(init=False)
    """The last frame without the actors."""
    backdrop_proxy: Plane = field(init=False)

    def __post_init__(self) -> None:
        self.backdrop = Frame(*(plane.copy() for plane in self.tail.picture(-1)))
        for opening in self.openings:
            for channel, plane in enumerate(self.backdrop):
                opening.fill(plane, partial(self._shown, channel))
        self.backdrop_proxy = self.tail.looks(self.backdrop)

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

    def _shown(self, channel: int, index: int, part: Part) -> Plane:
        plane = np.ascontiguousarray(self.tail.picture(index)[channel][part.where])
        return self.front.tones[index].undo(plane) if channel == 0 else plane


def _lay(made: Frame, other: Frame, cover: Map) -> None:
    """Mixes `other` into `made` by `cover`, 0 to 1, on the grid of proxies; only where there is any."""
    parts = boxes_around(cover > _SAME, made.size)
    for channel, (plane, over) in enumerate(zip(made, other, strict=True)):
        shares = stretch(cover, (plane.shape[1], plane.shape[0]))
        for part in parts:
            where = (part.halved() if channel else part).where
            share = np.ascontiguousarray(shares[where])
            below, above = (np.ascontiguousarray(values[where]) for values in (plane, over))
            plane[where] = cv2.blendLinear(below, above, 1 - share, share)


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

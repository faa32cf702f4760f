"""A picture on a larger canvas: around it its own mirror image, blurred the more, the farther away.

At the picture's edge the mirror image goes on without a step and without blur, so that no line is seen; a part of the
canvas away nothing is left of it but its light and its colours. Each frame is made from itself alone: what is steady in
the picture is steady around it, and a cut is a cut.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from longtake.engines.motion.frame import Box, Frame, Map
from longtake.frames import Frames, Plane

BLURS: Final = (0.0, 0.003, 0.008, 0.02, 0.045)
"""Standard deviations of the Gaussians, as parts of the canvas's longer side."""
REACHES: Final = (0.0, 0.008, 0.025, 0.07, 0.16)
"""How far from the picture each of them is reached, in the same unit."""
CELLS: Final = (1, 2, 4, 8, 16)
"""Each is computed on a grid so many times coarser: of what is that smooth nothing is lost."""
DITHER: Final = 0.5
"""Levels: hides the steps of eight bits for 3 % more bytes of video. Twice as much hides no more, and triples them."""


class Surround:
    """Lays frames on a canvas."""

    def __init__(self, canvas: tuple[int, int], kept: Box, *, strength: float = 1.0) -> None:
        """`canvas`: width and height. `kept`: where on it frames of just that size are put. All even.

        `strength`: how strong the blurs are, and how soon.
        """
        self._canvas = canvas
        luma = _Plane(canvas, kept, strength)
        chroma = _Plane((canvas[0] // 2, canvas[1] // 2), kept.halved(), strength)
        self._planes = luma, chroma, chroma

    def of(self, frames: Frames) -> Frames:
        """The canvas for each of the frames; within `kept` they are as they were."""
        pairs = list(zip(self._planes, frames.planes, strict=True))
        made = tuple(np.empty((frames.num_frames, *maker.shape), np.uint8) for maker, _ in pairs)
        for (maker, given), planes in zip(pairs, made, strict=True):
            for picture, canvas in zip(given, planes, strict=True):
                maker.fill(canvas, picture)
        return Frames(made, frames.colour)

    def of_frame(self, frame: Frame) -> Frame:
        """The canvas for one frame."""
        made = Frame(*(np.empty(maker.shape, np.uint8) for maker in self._planes))
        for maker, canvas, picture in zip(self._planes, made, frame, strict=True):
            maker.fill(canvas, picture)
        return made


class _Plane:
    """One plane of the canvas."""

    def __init__(self, size: tuple[int, int], kept: Box, strength: float) -> None:
        self.shape = size[1], size[0]
        self._kept = kept
        unit = max(size)
        outside = np.ones(self.shape, np.uint8)
        outside[kept.where] = 0
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        away = np.asarray(distance * (strength / unit), np.float32)
        self._sigmas = [blur * strength * unit for blur in BLURS]
        self._strips = [strip for strip in _around(size, kept) if strip.right > strip.left and strip.bottom > strip.top]
        self._weights = [_weights(away[strip.where]) for strip in self._strips]
        noise = np.random.default_rng(self.shape).random((2, *self.shape), np.float32)
        dither = DITHER * (noise[0] - noise[1])
        self._dither = [dither[strip.where] * _blurred_part(away[strip.where]) for strip in self._strips]

    def fill(self, canvas: Plane, picture: Plane) -> None:
        """Puts the picture on the canvas, and what continues it around."""
        (height, width), kept = self.shape, self._kept
        borders = kept.top, height - kept.bottom, kept.left, width - kept.right
        mirrored = np.asarray(cv2.copyMakeBorder(picture, *borders, cv2.BORDER_REFLECT), np.uint8)
        levels = [self._level(mirrored, sigma, cell) for sigma, cell in zip(self._sigmas, CELLS, strict=True)]
        canvas[kept.where] = picture
        for strip, weights, dither in zip(self._strips, self._weights, self._dither, strict=True):
            made = dither.copy()
            for level, weight in zip(levels, weights, strict=True):
                made += weight * level[strip.where]
            canvas[strip.where] = np.clip(made + 0.5, 0, 255).astype(np.uint8)

    def _level(self, mirrored: Plane, sigma: float, cell: int) -> Map:
        """The mirrored canvas through a Gaussian."""
        if not sigma:
            return np.asarray(mirrored, np.float32)
        height, width = self.shape
        small = cv2.resize(
            mirrored, (max(2, width // cell), max(2, height // cell)), interpolation=cv2.INTER_AREA
        ).astype(np.float32)
        blurred = cv2.GaussianBlur(small, (0, 0), sigma / cell, borderType=cv2.BORDER_REFLECT)
        return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _around(size: tuple[int, int], kept: Box) -> list[Box]:
    """Above, below, left and right of what is kept; together all that is around it."""
    width, height = size
    return [
        Box(0, 0, width, kept.top),
        Box(0, kept.bottom, width, height),
        Box(0, kept.top, kept.left, kept.bottom),
        Box(kept.right, kept.top, width, kept.bottom),
    ]


def _weights(distance: Map) -> list[Map]:
    """How much of each blur is seen at a distance from the picture: two neighbours mixed, smoothly."""
    place = np.interp(distance, REACHES, np.arange(len(REACHES))).astype(np.float32)
    return [np.asarray(np.clip(1 - np.abs(place - level), 0, 1), np.float32) for level in range(len(REACHES))]


def _blurred_part(distance: Map) -> Map:
    """Where there is no grain left that would hide the steps of eight bits."""
    return np.asarray(np.clip(distance / REACHES[2], 0, 1), np.float32)

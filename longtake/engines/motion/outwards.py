"""Camera moves outwards: the picture shrinks, and beyond its borders its blurred mirror image comes into view."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from longtake.engines.motion.camera import Pose
from longtake.engines.motion.frame import (
    Box,
    Field,
    FinePicture,
    Frame,
    Map,
    grid_size,
    pixel_grid,
    sample_grid,
    stretch,
    warp,
)
from longtake.engines.motion.surround import Surround

MOST_PULL: Final = 0.24
"""The farthest that paths of `camera` go out."""
SHRINKS: Final = {"zoom_out": (1.25, 1.25), "pull_out": (0.7, 1.35), "zoom_in": (1.25, 1.25), "push_in": (0.7, 1.35)}
"""A concept → by how much far and near things shrink for a pose's pull. Ahead of its picture a move inwards is out."""
OTHERS: Final = (1.0, 1.0)
STRENGTH: Final = 0.6
"""Of the surround's blur: it is narrow, and seen beside the picture for a moment only."""
_GRID_SIDE: Final = 160


BEYOND: Final = "Beyond the borders of the picture its blurred mirror image comes into view."


class Beyond:
    """One picture with what continues it beyond its borders."""

    def __init__(self, picture: Frame, *, again: bool) -> None:
        """`again`: it is seen from many poses."""
        width, height = picture.size
        # As much as the nearest thing shrinks at most, and two pixels for what is sampled around one.
        shown = 1 / (1 - MOST_PULL * max(max(pair) for pair in SHRINKS.values()))
        across, down = (2 * int(np.ceil(side * (shown - 1) / 4)) + 2 for side in (width, height))
        self._middle = Box(across, down, across + width, down + height)
        canvas = width + 2 * across, height + 2 * down
        self._whole = _surround(canvas, self._middle).of_frame(picture)
        self._fine = FinePicture(self._whole) if again else None

    def seen(self, concept: str, pose: Pose, depth: Map) -> Frame:
        """The picture from a pose whose `pull` says how far out the camera is. `depth` as `camera.view` has it."""
        field = self._field(concept, pose, depth)
        if self._fine:
            return self._fine.warped_parts(field, [self._middle])[0]
        parts = zip(warp(self._whole, field), (self._middle, *2 * (self._middle.halved(),)), strict=True)
        return Frame(*(np.ascontiguousarray(plane[part.where]) for plane, part in parts))

    def _field(self, concept: str, pose: Pose, depth: Map) -> Field:
        """The backward displacement over the whole canvas; it is about its centre, which is the picture's."""
        width, height = self._whole.size
        columns, rows = grid_size((width, height), _GRID_SIDE)
        cell = np.array([width / columns, height / rows], np.float32)
        offset = (pixel_grid((columns, rows)) + np.float32(0.5)) * cell - np.array([width, height], np.float32) / 2
        far, near = (np.float32(1 - pose.pull * shrinks) for shrinks in SHRINKS.get(concept, OTHERS))
        nearness = self._nearness(depth, (columns, rows))
        field, seen = np.zeros(offset.shape, np.float32), nearness
        for step in range(1 if far == near else 3):
            if step:
                seen = sample_grid(nearness, np.asarray(field / cell, np.float32))
            field = np.asarray(offset * (1 / (far + (near - far) * seen) - 1)[..., None], np.float32)
        return field

    def _nearness(self, depth: Map, grid: tuple[int, int]) -> Map:
        """The depth over the canvas: beyond the borders as at them."""
        width, height = self._whole.size
        rows, columns = depth.shape
        across = round(columns * self._middle.left / (width - 2 * self._middle.left))
        down = round(rows * self._middle.top / (height - 2 * self._middle.top))
        padded = cv2.copyMakeBorder(depth, down, down, across, across, cv2.BORDER_REPLICATE)
        return stretch(np.asarray(padded, np.float32), grid)


@lru_cache(maxsize=4)
def _surround(canvas: tuple[int, int], middle: Box) -> Surround:
    """It takes longer to set up than to use, and a clip's frames are all of one size."""
    return Surround(canvas, middle, strength=STRENGTH)

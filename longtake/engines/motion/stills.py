"""A still comes alive: a pseudo-depth of it, and the camera moving through."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from longtake.engines.motion.camera import Path, Pose, view
from longtake.engines.motion.frame import FinePicture, Frame, Map, proxy
from longtake.engines.motion.outwards import Beyond

_SIDE = 320


class MovingStill:
    """One picture, seen along a camera path."""

    def __init__(self, still: Frame, path: Path) -> None:
        self._still = still
        self._path = path

    @cached_property
    def _fine(self) -> FinePicture:
        return FinePicture(self._still)

    @cached_property
    def _beyond(self) -> Beyond:
        return Beyond(self._still, again=True)

    @cached_property
    def _depth(self) -> Map:
        return pseudo_depth(self._still)

    def at(self, seconds: float) -> Frame:
        """The picture `seconds` after (negative: before) the moment when it is exactly the still."""
        pose = self._path.pose(seconds)
        if seconds == 0 or pose == Pose():
            return self._still
        if pose.pull:
            return self._beyond.seen(self._path.concept, pose, self._depth)
        return self._fine.warp(view(pose, self._depth, self._still.size))


def ground_depth(size: tuple[int, int]) -> Map:
    """The depth of a scene of which nothing is known: near at the bottom, far at the top."""
    height = max(2, size[1] // 8)
    return np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], 2, axis=1)


def pseudo_depth(still: Frame) -> Map:
    """Guessed nearness, 0 to 1: what is low in the picture, sharp, and unlike the picture's upper rim is near."""
    luma = proxy(still.y, _SIDE)
    rows, columns = luma.shape
    chroma = [cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA) for plane in (still.u, still.v)]
    colours = np.dstack([luma, *chroma]).astype(np.float32)
    low = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** 1.3
    detail = cv2.GaussianBlur(np.abs(cv2.Laplacian(luma, cv2.CV_32F)), (0, 0), 6.0)
    apart = _distance_from_rim(colours)
    guess = 0.5 * low + 0.15 * detail / (detail.max() + 1e-3) + 0.35 * apart / (apart.max() + 1e-3)
    smooth = _guided(np.asarray(guess, np.float32), np.asarray(colours[..., 0] / 255, np.float32))
    grown = cv2.dilate(smooth, np.ones((3, 3), np.uint8))
    return np.clip(cv2.GaussianBlur(grown, (0, 0), 3.0), 0, 1).astype(np.float32)


def _distance_from_rim(colours: Map) -> Map:
    """Geodesic colour distance from the top, left and right border: three sweeps in each of three directions."""
    rows, columns = colours.shape[:2]
    distance = np.full((rows, columns), 1e6, np.float32)
    distance[0] = distance[:, 0] = distance[:, -1] = 0
    down = np.linalg.norm(np.diff(colours, axis=0), axis=2) + np.float32(0.5)
    across = np.linalg.norm(np.diff(colours, axis=1), axis=2) + np.float32(0.5)
    for _ in range(3):
        for row in range(1, rows):
            np.minimum(distance[row], distance[row - 1] + down[row - 1], out=distance[row])
        for column in range(1, columns):
            np.minimum(distance[:, column], distance[:, column - 1] + across[:, column - 1], out=distance[:, column])
        for column in range(columns - 2, -1, -1):
            np.minimum(distance[:, column], distance[:, column + 1] + across[:, column], out=distance[:, column])
        for row in range(rows - 2, -1, -1):
            np.minimum(distance[row], distance[row + 1] + down[row], out=distance[row])
    return distance


def _guided(values: Map, guide: Map, radius: int = 8, epsilon: float = 1e-3) -> Map:
    """He, Sun and Tang, "Guided Image Filtering", 2010: smooth, but along the guide's edges."""

    def mean(plane: Map) -> Map:
        return np.asarray(cv2.blur(plane, (2 * radius + 1, 2 * radius + 1)), np.float32)

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + epsilon)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)

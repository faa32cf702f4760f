"""One frame in planar YUV 4:2:0, and what moves its pixels.

Displacements are backward: `out(x) = frame(x + displacement(x))`, float32 (rows, columns, 2) as (dx, dy) in pixels of
the full luma plane, on a grid of any resolution (a grid is stretched over the frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from longtake.frames import Frames, Plane

Field = npt.NDArray[np.float32]
"""float32 (rows, columns, 2): a vector (dx, dy) at each point of a grid."""
AnyPlane = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Map = npt.NDArray[np.float32]
"""float32 (rows, columns)."""


class Frame(NamedTuple):
    """uint8 planes: y (height, width), u and v (height / 2, width / 2)."""

    y: Plane
    u: Plane
    v: Plane

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in luma pixels."""
        return self.y.shape[1], self.y.shape[0]


def frame_at(frames: Frames, index: int) -> Frame:
    """Views on frame `index` (negative counts from the end); nothing is copied."""
    y, u, v = (plane[index] for plane in frames.planes)
    return Frame(y, u, v)


def stack(pictures: Sequence[Frame]) -> Frames:
    """Copies single frames into one stretch."""
    return Frames(tuple(np.stack(planes) for planes in zip(*pictures, strict=True)))


def grid_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(width, height) of a grid over a frame of `size` whose longer side is at most `long_side`."""
    scale = min(1.0, long_side / max(size))
    return max(2, round(size[0] * scale)), max(2, round(size[1] * scale))


def proxy(luma: Plane, long_side: int) -> Plane:
    """A small copy of a luma plane, area-averaged; its longer side is at most `long_side`."""
    size = grid_size((luma.shape[1], luma.shape[0]), long_side)
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)


def stretch(grid: Map | Field, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A grid brought to (width, height) by bilinear interpolation."""
    if (grid.shape[1], grid.shape[0]) == size:
        return grid
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=8)
def pixel_grid(size: tuple[int, int]) -> Field:
    """The coordinates (x, y) of each pixel of a plane of (width, height); shared, so never write to it."""
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    grid = np.dstack((x, y))
    grid.flags.writeable = False
    return grid


def warp(frame: Frame, displacement: Field) -> Frame:
    """`frame` with its pixels fetched from where `displacement` points; luma bicubic, chroma bilinear."""
    width, height = frame.size
    half = (width // 2, height // 2)
    luma_map = np.asarray(cv2.add(pixel_grid((width, height)), stretch(displacement, (width, height))), np.float32)
    halved = displacement * np.float32(0.5)
    chroma_map = np.asarray(cv2.add(pixel_grid(half), stretch(halved, half)), np.float32)
    return Frame(
        _sample(frame.y, luma_map, cv2.INTER_CUBIC),
        _sample(frame.u, chroma_map, cv2.INTER_LINEAR),
        _sample(frame.v, chroma_map, cv2.INTER_LINEAR),
    )


def sample_grid(values: Map | Field, displacement: Field) -> npt.NDArray[np.float32]:
    """A grid's values fetched along a displacement given in the grid's own pixels, bilinear."""
    where = pixel_grid((values.shape[1], values.shape[0])) + displacement
    return np.asarray(_remap(values, where, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE), np.float32)


def sharpness(luma: Plane) -> float:
    """Standard deviation of the Laplacian, in levels."""
    return float(cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))[1][0, 0])


def sharpen_to(frame: Frame, target: float, most: float = 0.6) -> Frame:
    """Unsharp masking of the luma until its `sharpness` comes near `target`; never softens."""
    lack = target / max(sharpness(frame.y), 1e-3) - 1
    if lack < 0.02:
        return frame
    amount = min(lack, most)
    soft = cv2.GaussianBlur(frame.y, (0, 0), 1.0)
    luma = cv2.addWeighted(frame.y, 1 + amount, soft, -amount, 0)
    return Frame(np.asarray(luma, np.uint8), frame.u, frame.v)


def _sample(plane: Plane, where: Field, interpolation: int) -> Plane:
    return np.asarray(_remap(plane, where, interpolation, cv2.BORDER_REFLECT_101), np.uint8)


def _remap(values: AnyPlane, where: Field, interpolation: int, border: int) -> AnyPlane:
    # The stubs want a second map; an empty one makes OpenCV 5.0 read memory that is not there.
    sampled: AnyPlane = cv2.remap(values, where, None, interpolation, borderMode=border)  # type: ignore[call-overload]
    return sampled

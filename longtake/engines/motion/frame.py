"""One frame in planar YUV 4:2:0, and what moves its pixels.

Displacements are backward: `out(x) = frame(x + displacement(x))`, float32 (rows, columns, 2) as (dx, dy) in pixels of
the full luma plane, on a grid of any resolution (a grid is stretched over the frame).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from longtake.frames import Frames, Plane

Field = npt.NDArray[np.float32]
"""float32 (rows, columns, 2): a vector (dx, dy) at each point of a grid."""
AnyPlane = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Map = npt.NDArray[np.float32]
"""float32 (rows, columns)."""


_FINENESS = ((4, 8 * 2**20, 0.06), (3, 20 * 2**20, 0.085), (2, 40 * 2**20, 0.1))
"""How many times as fine, in at most so many bytes; and the sharpness that sampling bilinearly then takes, which is
given back beforehand."""
_BANDS = 8
"""Into so many bands a picture is cut where only a part of it moves."""
_NEARLY_ALL = 0.8
_GAP = 8
"""Grid cells: what stands between two things in a band and is narrower goes with them."""
_MOST_SIDE = 2**15 - 1
"""OpenCV samples no larger picture."""


class Frame(NamedTuple):
    """uint8 planes: y (height, width), u and v (height / 2, width / 2)."""

    y: Plane
    u: Plane
    v: Plane

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in luma pixels."""
        return self.y.shape[1], self.y.shape[0]


class Box(NamedTuple):
    """A part of a picture, half-open, in pixels; of a `Frame`'s luma all four are even."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def where(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def halved(self) -> Box:
        """The same on the chroma planes."""
        return Box(*(side // 2 for side in self))


def boxes_around(active: npt.NDArray[np.bool_], size: tuple[int, int]) -> list[Box]:
    """Boxes that hold all of a picture of (width, height) `size` over which the grid is `active`; none overlap."""
    rows, columns = active.shape
    across, down = size[0] / columns, size[1] / rows
    # One cell more on each side: what lies between two grid points belongs to both.
    near = cv2.dilate(np.asarray(active, np.uint8), np.ones((3, 3), np.uint8))
    edges = sorted({min(size[1], round(size[1] * band / _BANDS / 2) * 2) for band in range(_BANDS)} | {size[1]})
    boxes: list[Box] = []
    for top, bottom in pairwise(edges):
        used = np.flatnonzero(near[int(top / down) : math.ceil(bottom / down)].any(axis=0))
        runs = np.split(used, np.flatnonzero(np.diff(used) > _GAP) + 1) if len(used) else []
        for run in runs:
            left, right = int(run[0] * across) // 2, math.ceil((run[-1] + 1) * across / 2)
            boxes.append(Box(2 * left, top, min(size[0], 2 * right), bottom))
    covered = sum((box.right - box.left) * (box.bottom - box.top) for box in boxes)
    return boxes if covered < _NEARLY_ALL * size[0] * size[1] else [Box(0, 0, *size)]


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
    rows, columns = luma.shape
    width, height = grid_size((columns, rows), long_side)
    halved = False
    # Averaging any number of pixels is slow, averaging four is not; what is left then is less than half.
    while not (rows % 2 or columns % 2) and rows >= 2 * height and columns >= 2 * width:
        rows, columns = rows // 2, columns // 2
        luma = np.asarray(cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
        halved = True
    if (columns, rows) == (width, height):
        return luma if halved else luma.copy()
    is_near = halved and columns < 2 * width and rows < 2 * height
    how = cv2.INTER_LINEAR if is_near else cv2.INTER_AREA
    return np.asarray(cv2.resize(luma, (width, height), interpolation=how), np.uint8)


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
    whole = [Box(0, 0, *frame.size)]
    (luma,) = _fetch([frame.y], frame.size, displacement, cv2.INTER_CUBIC, whole)
    return Frame(*luma, *_chroma(frame, displacement, whole)[0])


class FinePicture:
    """A picture that is warped many times: what `warp` gives, but for about 53 dB, three times as fast.

    Its luma is kept magnified (bicubic), between whose pixels bilinear sampling is enough. That takes up to 16 times
    the luma's memory, at most 40 MiB; where less than twice as fine a luma fits, it is `warp`.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        width, height = frame.size
        area, side = width * height, max(width, height)
        fits = ((n, lift) for n, most, lift in _FINENESS if area * n * n <= most and n * side < _MOST_SIDE)
        self._factor, lift = next(fits, (1, 0.0))
        fine = (width * self._factor, height * self._factor)
        soft = cv2.GaussianBlur(frame.y, (0, 0), 0.7)
        sharp = cv2.addWeighted(frame.y, 1 + lift, soft, -lift, 0)
        self._luma = np.asarray(cv2.resize(sharp, fine, interpolation=cv2.INTER_CUBIC), np.uint8)

    def warp(self, displacement: Field) -> Frame:
        """As the function of this name."""
        return self.warped_parts(displacement, [Box(0, 0, *self._frame.size)])[0]

    def warped_parts(self, displacement: Field, parts: Sequence[Box]) -> list[Frame]:
        """These parts of what `warp` gives."""
        fine, interpolation = (self._luma, cv2.INTER_LINEAR) if self._factor > 1 else (self._frame.y, cv2.INTER_CUBIC)
        lumas = _fetch([fine], self._frame.size, displacement, interpolation, parts, self._factor)
        chromas = _chroma(self._frame, displacement, parts)
        return [Frame(*luma, *chroma) for luma, chroma in zip(lumas, chromas, strict=True)]


def _chroma(frame: Frame, displacement: Field, parts: Sequence[Box]) -> list[list[Plane]]:
    size, halves = (frame.u.shape[1], frame.u.shape[0]), [part.halved() for part in parts]
    return _fetch([frame.u, frame.v], size, displacement * np.float32(0.5), cv2.INTER_LINEAR, halves)


def _fetch(
    planes: Sequence[Plane],
    size: tuple[int, int],
    displacement: Field,
    interpolation: int,
    parts: Sequence[Box],
    factor: int = 1,
) -> list[list[Plane]]:
    """Of each of `parts` the planes, of (width, height), whose pixels come from where `displacement`, in their pixels,
    points in `planes`, which are `factor` times as large."""
    # One map for each axis: OpenCV samples faster from two than from one of pairs.
    x, y = (
        stretch(np.ascontiguousarray(axis) * np.float32(factor) + np.float32((factor - 1) / 2), size)
        for axis in (displacement[..., 0], displacement[..., 1])
    )
    made = []
    for part in parts:
        here = x[part.where], y[part.where]
        here[0][:] += np.arange(part.left, part.right, dtype=np.float32) * np.float32(factor)
        here[1][:] += np.arange(part.top, part.bottom, dtype=np.float32)[:, None] * np.float32(factor)
        remapped = (_remap(plane, here, interpolation, cv2.BORDER_REFLECT_101) for plane in planes)
        made.append([np.asarray(plane, np.uint8) for plane in remapped])
    return made


def sample_grid(values: Map | Field, displacement: Field) -> npt.NDArray[np.float32]:
    """A grid's values fetched along a displacement given in the grid's own pixels, bilinear."""
    where = pixel_grid((values.shape[1], values.shape[0])) + displacement
    return np.asarray(_remap(values, where, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE), np.float32)


def sharpness(luma: Plane) -> float:
    """Standard deviation of the Laplacian, in levels."""
    laplacian = cv2.Laplacian(luma, cv2.CV_16S)
    # Its mean is next to nothing, but not on a small picture; `meanStdDev` takes four times as long.
    square = float(cv2.norm(laplacian, cv2.NORM_L2SQR)) / laplacian.size
    return math.sqrt(max(0.0, square - cv2.mean(laplacian)[0] ** 2))


def sharpen_to(frame: Frame, target: float, most: float = 0.6) -> Frame:
    """Unsharp masking of the luma until its `sharpness` comes near `target`; never softens."""
    lack = target / max(sharpness(frame.y), 1e-3) - 1
    if lack < 0.02:
        return frame
    amount = min(lack, most)
    soft = cv2.GaussianBlur(frame.y, (0, 0), 1.0)
    luma = cv2.addWeighted(frame.y, 1 + amount, soft, -amount, 0)
    return Frame(np.asarray(luma, np.uint8), frame.u, frame.v)


def _remap(values: AnyPlane, where: Field | tuple[Map, Map], interpolation: int, border: int) -> AnyPlane:
    # The stubs want a second map; an empty one makes OpenCV 5.0 read memory that is not there.
    first, second = where if isinstance(where, tuple) else (where, None)
    sampled = cv2.remap(values, first, second, interpolation, borderMode=border)  # type: ignore[arg-type]
    return cast("AnyPlane", sampled)

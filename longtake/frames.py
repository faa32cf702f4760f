"""Pictures in memory: what decoders give, engines take and yield, and encoders take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from longtake.video import BT709, Colour

Plane = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frames:
    """A stretch of frames in order of time, uint8, upright.

    Either planar 4:2:0 as decoded: `(y, u, v)` of `(num_frames, height, width)` and twice
    `(num_frames, height / 2, width / 2)`; or RGB, full range: one plane `(num_frames, height, width, 3)`.
    """

    planes: tuple[Plane, ...]
    colour: Colour = BT709
    """What the numbers of planar frames mean; RGB is always BT.709's."""

    def __post_init__(self) -> None:
        shapes = [plane.shape for plane in self.planes]
        if any(plane.dtype != np.uint8 for plane in self.planes):
            raise ValueError(f"planes must be uint8, got {[str(plane.dtype) for plane in self.planes]}")
        if len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][3] == 3:
            return
        if len(shapes) == 3 and all(len(shape) == 3 for shape in shapes):
            num, height, width = shapes[0]
            if shapes[1] == shapes[2] == (num, height // 2, width // 2) and not (height % 2 or width % 2):
                return
        raise ValueError(f"frames are (y, u, v) planes in 4:2:0 or one (n, h, w, 3) RGB plane, got {shapes}")

    @property
    def is_rgb(self) -> bool:
        return len(self.planes) == 1

    @property
    def num_frames(self) -> int:
        return int(self.planes[0].shape[0])

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[2])

    def __getitem__(self, frames: slice) -> Frames:
        """A stretch of it; views, nothing is copied."""
        return Frames(tuple(plane[frames] for plane in self.planes), self.colour)

    def __repr__(self) -> str:
        kind = "rgb" if self.is_rgb else "yuv420p"
        return f"Frames({self.num_frames} x {self.width}x{self.height} {kind})"

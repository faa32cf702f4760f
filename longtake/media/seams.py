"""How well two stretches of frames meet, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np

from longtake.frames import Frames, Plane
from longtake.media.cielab import Lab, ciede2000, rgb_to_lab
from longtake.media.colour import to_rgb, to_yuv
from longtake.media.proxy import proxy

STEP_FLOOR: Final = 0.5
"""Levels of luma: footage whose frames differ by less counts as still. It is about what encoding adds."""
FLOW_FLOOR: Final = 0.05
"""Pixels of the proxy a frame: below it flow is noise."""
SHARPNESS_FLOOR: Final = 1.0
"""Levels squared: a Laplacian's variance below it is a plain surface."""
PROXY_WIDTH: Final = 240
COLOUR_SIZE: Final = (64, 36)
SAMPLES: Final = 8


@dataclass(frozen=True, slots=True)
class Seam:
    """The figures of one seam. Ratios are after over before; 1 is perfect for `motion` and `sharpness`."""

    frame: int
    """The number of the first frame after the seam."""
    jump: float
    """The step across the seam over the footage's own median step: 1 as smooth, 0 a freeze, above 2 visible."""
    motion: float
    sharpness: float
    colour: float
    """CIEDE2000; 1 is just noticeable."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Seam:
        return cls(data["frame"], data["jump"], data["motion"], data["sharpness"], data["colour"])


def measure(
    before: Frames,
    after: Frames,
    frame: int,
    before_lengths: Sequence[float] | None = None,
    after_lengths: Sequence[float] | None = None,
) -> Seam:
    """Measures the seam between up to a second of frames before it and up to a second after.

    A step is the mean absolute difference of luma, 0 to 255. `jump` is the step from `before[-1]` to `after[0]` over
    the median step inside `before` (inside `after` where `before` is one frame; nothing where both are), at least
    STEP_FLOOR: a frame repeated exactly gives 0 on any footage, still footage too. `motion` is the mean length of
    optical flow (DIS) at a width of 240 pixels, `sharpness` the variance of the Laplacian of luma, both sampled at up
    to 8 places a side and floored, so that still beside still, and black beside black, give 1; `motion` is 1 where a
    side has only one frame. `colour` is CIEDE2000 between the two sides' mean Lab colours.
    Where frames are not equally far apart, a side's lengths say how far each step inside it is, in steps of the rate
    that both are compared at: a step counts, and a flow, by its length.
    Raises ValueError where the sizes differ or a side is empty.
    """
    if (before.width, before.height) != (after.width, after.height) or not before.num_frames * after.num_frames:
        raise ValueError(f"a seam needs frames of one size on both sides, got {before} and {after}")
    before, after = to_yuv(before), to_yuv(after)
    motions = _motion(before.planes[0], before_lengths), _motion(after.planes[0], after_lengths)
    return Seam(
        frame=frame,
        jump=round(_jump(before.planes[0], after.planes[0], before_lengths, after_lengths), 4),
        motion=round(_ratio(*motions, FLOW_FLOOR), 4),
        sharpness=round(_ratio(_sharpness(before.planes[0]), _sharpness(after.planes[0]), SHARPNESS_FLOOR), 4),
        colour=round(ciede2000(_mean_lab(before), _mean_lab(after)), 4),
    )


def _ratio(before: float | None, after: float | None, floor: float) -> float:
    if before is None or after is None:
        return 1.0
    return max(after, floor) / max(before, floor)


def _step(left: Plane, right: Plane) -> float:
    return float(cv2.norm(left, right, cv2.NORM_L1)) / left.size


def _steps(luma: Plane, lengths: Sequence[float] | None) -> list[float]:
    return [_step(luma[i], luma[i + 1]) / (lengths[i] if lengths else 1) for i in range(len(luma) - 1)]


def _jump(
    before: Plane, after: Plane, before_lengths: Sequence[float] | None, after_lengths: Sequence[float] | None
) -> float:
    own = _steps(before, before_lengths) or _steps(after, after_lengths) or [0.0]
    return _step(before[-1], after[0]) / max(float(np.median(own)), STEP_FLOOR)


def _places(num_frames: int) -> Sequence[int]:
    """Up to `SAMPLES` frame numbers, evenly spaced."""
    return sorted({int(place) for place in np.linspace(0, num_frames - 1, min(SAMPLES, num_frames)).round()})


def _motion(luma: Plane, lengths: Sequence[float] | None) -> float | None:
    if len(luma) < 2:
        return None
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flows = []
    for place in _places(len(luma) - 1):
        left, right = proxy(luma[place], PROXY_WIDTH), proxy(luma[place + 1], PROXY_WIDTH)
        field = flow.calc(left, right, None)  # type: ignore[call-overload]
        flows.append(float(np.hypot(field[..., 0], field[..., 1]).mean()) / (lengths[place] if lengths else 1))
    return float(np.mean(flows))


def _sharpness(luma: Plane) -> float:
    spreads = [cv2.meanStdDev(cv2.Laplacian(luma[place], cv2.CV_16S))[1][0, 0] for place in _places(len(luma))]
    return float(np.mean(np.square(spreads)))


def _mean_lab(frames: Frames) -> Lab:
    width, height = COLOUR_SIZE
    sizes = (width, height), (width // 2, height // 2), (width // 2, height // 2)
    places = _places(frames.num_frames)
    small = Frames(
        tuple(
            np.stack([np.asarray(cv2.resize(plane[k], size, interpolation=cv2.INTER_AREA), np.uint8) for k in places])
            for plane, size in zip(frames.planes, sizes, strict=True)
        ),
        frames.colour,
    )
    return np.asarray(rgb_to_lab(to_rgb(small).planes[0]).reshape(-1, 3).mean(axis=0), np.float64)

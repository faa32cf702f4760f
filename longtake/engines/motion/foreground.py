"""What moves in front of a camera that stands: the scene without it (the plate), and where each frame differs.

The plate is the temporal median of the clip (as in Lo and Velastin, "Automatic congestion detection system for
underground platforms", 2001), each frame first fitted to the last one's exposure. All of it is luma proxies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.threads import each
from longtake.frames import Plane

SAMPLES = 9
_EXCHANGES = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)
"""Smith's network for the median of nine (in Devillard, "Fast median search", 1998)."""
_FIT_SIZE = (60, 34)
_SAME_LEVELS = 0.4
_LEAST_GAIN, _MOST_GAIN = 0.7, 1.4
_LEAST_DIFFERENCE = 8.0
"""Levels: what differs from the plate by less is noise, whatever the noise is."""
_NOISE_FACTOR = 4.0
_GAP = 7
"""Proxy pixels: smaller holes in what moves are closed."""

Mask = npt.NDArray[np.uint8]
"""uint8 (rows, columns): 0 or 1."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A frame's luma as `gain * luma + offset` of the last frame's."""

    gain: float
    offset: float

    @property
    def is_same(self) -> bool:
        return abs(self.gain - 1) < 0.02 and abs(self.offset) < 2.0

    def undo(self, luma: Plane) -> Plane:
        """The luma as the last frame's exposure would show it."""
        if abs(self.gain - 1) < 0.005 and abs(self.offset) < 0.5:
            return luma
        levels = np.clip((np.arange(256) - self.offset) / self.gain + 0.5, 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(luma, levels), np.uint8)


@dataclass(frozen=True)
class Foreground:
    """What differs from the plate in each frame of a clip."""

    plate: Plane
    tones: list[Tone]
    lumas: list[Plane]
    """The proxies, all with the last frame's exposure."""
    masks: list[Mask]
    threshold: float
    """Levels of luma from which on a difference counts."""


def foreground(proxies: Sequence[Plane]) -> Foreground:
    """Takes the camera to stand still."""
    tones = each(partial(_tone, reference=_looks(proxies[-1])), proxies)
    lumas = [tone.undo(plane) for tone, plane in zip(tones, proxies, strict=True)]
    plate = median_of_nine([lumas[index] for index in spread(len(lumas))].__getitem__)
    differences = each(partial(difference, plate=plate), lumas)
    noise = float(np.median([np.median(plane) for plane in differences[:: max(1, len(differences) // 16)]]))
    threshold = max(_LEAST_DIFFERENCE, _NOISE_FACTOR * noise)
    return Foreground(plate, tones, lumas, each(partial(moving, threshold=threshold), differences), threshold)


def difference(luma: Plane, plate: Plane) -> Plane:
    """|luma - plate|, evened out over 3 x 3 pixels."""
    return np.asarray(cv2.blur(cv2.absdiff(luma, plate), (3, 3)), np.uint8)


def moving(difference: Plane, threshold: float) -> Mask:
    """Where a difference counts, without holes and specks."""
    _, above = cv2.threshold(difference, threshold, 1, cv2.THRESH_BINARY)
    closed = cv2.morphologyEx(above, cv2.MORPH_CLOSE, np.ones((_GAP, _GAP), np.uint8))
    return opened(np.asarray(closed, np.uint8), 3)


def grown(mask: Mask, radius: int) -> Mask:
    """With all that lies so many pixels around it."""
    return np.asarray(cv2.dilate(mask, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)), np.uint8)


def opened(mask: Mask, side: int) -> Mask:
    """Without what is narrower than `side` pixels."""
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)), np.uint8)


def shifted(mask: Mask, moved: npt.NDArray[np.float64]) -> Mask:
    """Moved by so many pixels (x, y), rounded; nothing comes in."""
    x, y = (float(round(float(value))) for value in moved)
    shift = np.array([[1, 0, x], [0, 1, y]], np.float64)
    return np.asarray(cv2.warpAffine(mask, shift, mask.shape[::-1], flags=cv2.INTER_NEAREST), np.uint8)


def spread(count: int) -> list[int]:
    """Nine places, evenly over `count` frames."""
    return [round(index * (count - 1) / (SAMPLES - 1)) for index in range(SAMPLES)]


def median_of_nine(plane_at: Callable[[int], Plane]) -> Plane:
    """The median at each pixel of the planes 0 to 8."""
    planes = [plane_at(index) for index in range(SAMPLES)]
    for low, high in _EXCHANGES:
        a, b = planes[low], planes[high]
        planes[low], planes[high] = np.asarray(cv2.min(a, b), np.uint8), np.asarray(cv2.max(a, b), np.uint8)
    return planes[SAMPLES // 2]


def _looks(luma: Plane) -> npt.NDArray[np.float64]:
    return cv2.resize(luma, _FIT_SIZE, interpolation=cv2.INTER_AREA).ravel().astype(np.float64)


def _tone(luma: Plane, reference: npt.NDArray[np.float64]) -> Tone:
    """By least squares over what differs least from `reference`, the last frame's looks: what moves does not count."""
    a, b = reference, _looks(luma)
    gain, offset = 1.0, float(np.median(b - a))
    # Most footage keeps its exposure, and the median says so.
    for _ in range(4 if abs(offset) > _SAME_LEVELS else 0):
        apart = np.abs(b - gain * a - offset)
        kept = apart <= max(2 * float(np.median(apart)), 0.5)
        x, y = a[kept], b[kept]
        spread = float(x.var())
        slope = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 20 else 1.0
        gain = float(np.clip(slope, _LEAST_GAIN, _MOST_GAIN))
        offset = float(y.mean() - gain * x.mean())
    return Tone(gain, offset) if abs(offset) > _SAME_LEVELS or gain != 1 else Tone(1.0, 0.0)

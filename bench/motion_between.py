"""In-betweens of real frames against the frames that were there, and against FFmpeg's minterpolate."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from bench.motion_baselines import minterpolate, minterpolated
from bench.motion_extend import Remarks
from bench.motion_figures import psnr, sharpness, steps
from bench.motion_footage import Clip, fitted, joined, luma, picked, resized
from longtake.engines.base import Engine, Shot
from longtake.frames import Frames, Plane
from longtake.media.encode import encode
from longtake.video import Cell, VideoFormat

GAPS = 4, 8, 16
POSITIONS = 3
LARGEST = 640, 360
"""For quality: minterpolate's best settings give 3 frames a second at 720p."""
SAME_PICTURE = 4.0
"""Levels squared: two frames that differ by less are one picture, and there is nothing between them."""


@dataclass(frozen=True)
class Between:
    """Of one clip and one gap: means over the positions, of the middle frame."""

    clip: str
    gap: int
    psnr: dict[str, float]
    """Method → decibels."""
    sharpness: dict[str, float]
    """Method → over the true frame's."""
    dissolved: float
    """The share of pairs for which the engine found no way between them, and dissolved."""


def between(clip: Clip, engine: Engine) -> list[Between]:
    """One for each gap that fits in the clip and at which its frames differ."""
    small = fitted(clip.whole, LARGEST)
    format = VideoFormat(small.width, small.height, clip.format.frame_rate)
    found = (_at_gap(clip.name, small, format, gap, engine) for gap in GAPS)
    return [result for result in found if result is not None]


def _at_gap(name: str, frames: Frames, format: VideoFormat, gap: int, engine: Engine) -> Between | None:
    decibels: dict[str, list[float]] = {}
    sharp: dict[str, list[float]] = {}
    remarks = Remarks()
    room = frames.num_frames - 3 * gap - 1
    for first in np.linspace(gap, max(gap, gap + room), POSITIONS).astype(int) if room >= 0 else []:
        ends = picked(frames, [first, first + gap])
        if steps(luma(ends))[0] < SAME_PICTURE:
            continue
        truth = luma(frames)[first + gap // 2]
        a, b = luma(ends)
        made = {
            "ours": luma(_ours(ends, gap, format, engine, remarks))[gap // 2 - 1],
            "minterpolate": _by_minterpolate(frames, first, gap, format),
            "cross-fade": np.asarray(cv2.addWeighted(a, 0.5, b, 0.5, 0), np.uint8),
        }
        for method, picture in made.items():
            decibels.setdefault(method, []).append(psnr(picture, truth))
            sharp.setdefault(method, []).append(float(sharpness(picture[None])[0] / sharpness(truth[None])[0]))
    if not decibels:
        return None
    dissolved = sum("dissolve" in text for text in remarks.texts) / len(decibels["ours"])
    return Between(name, gap, _means(decibels), _means(sharp), dissolved)


def _means(found: dict[str, list[float]]) -> dict[str, float]:
    return {method: statistics.mean(values) for method, values in found.items()}


def _ours(ends: Frames, gap: int, format: VideoFormat, engine: Engine, remarks: Remarks) -> Frames:
    """The frames strictly between two stills."""
    shot = Shot(Cell("still", "still"), format, gap + 1, before=ends[:1], after=ends[1:], seed=1)
    return joined(*engine.render(shot, remarks))[1:-1]


def _by_minterpolate(frames: Frames, first: int, gap: int, format: VideoFormat) -> Plane:
    """The middle frame; asking for twice the rate makes only the middles."""
    four = picked(frames, [first + k * gap for k in (-1, 0, 1, 2)])
    rate = format.frame_rate / gap
    middle = minterpolate(four, rate, 2 * rate)
    picture: Plane = luma(middle)[0]
    return picture


@dataclass(frozen=True)
class BetweenSpeed:
    """Frames a second at 720p, encoding included."""

    ours: float
    minterpolate: float


def speed(clip: Clip, engine: Engine, folder: Path, gap: int = 8) -> BetweenSpeed:
    """In-betweens of three pairs of a clip brought to 1280 × 720, and encoded."""
    frames = resized(picked(clip.whole, [k * gap for k in range(4)]), 1280, 720)
    format = VideoFormat(1280, 720, Fraction(24))
    started = time.perf_counter()
    encode((_ours(frames[k : k + 2], gap, format, engine, Remarks()) for k in range(3)), format, folder / "a.mp4")
    ours = time.perf_counter() - started
    started = time.perf_counter()
    made = minterpolated(frames, format.frame_rate / gap, format.frame_rate)
    peers = encode((frame for _, frame in made), format, folder / "b.mp4").num_frames
    return BetweenSpeed(3 * (gap - 1) / ours, peers / (time.perf_counter() - started))

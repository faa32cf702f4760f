"""What a video is, and whether it can be joined to segments of our own by copying packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from longtake.errors import MediaError
from longtake.media.encode import parameter_sets
from longtake.media.survey import MOST_PIXELS_ACROSS, Survey, survey
from longtake.video import VideoFormat

BT709_LIMITED = (1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Probe:
    """A whole, readable video."""

    codec: str
    """FFmpeg's name: h264, hevc, vp9, …"""
    format: VideoFormat
    """Upright, in square pixels, even, at its exact nominal rate: what it has in house format."""
    num_frames: int
    key_frames: tuple[int, ...]
    has_sound: bool
    is_house: bool
    """Its packets can stand beside our segments' as they are."""
    why_not_house: tuple[str, ...]


def probe(source: Path | BinaryIO) -> Probe:
    """Reads every packet and decodes one frame.

    Raises MediaError with a clear sentence for what is no video: another kind of file, cut off, sound only, no
    frames, no bytes, more than 8192 pixels across.
    """
    found = survey(source)
    format = VideoFormat(*house_size(found), found.rate.frame_rate)
    reasons = tuple(_why_not_house(found, format))
    return Probe(found.codec, format, found.num_frames, found.key_frames, found.has_sound, not reasons, reasons)


def square_size(found: Survey) -> tuple[int, int]:
    """Width and height in square pixels, before rotation: the side that is too short is stretched."""
    width, height, aspect = found.width, found.height, found.sample_aspect
    if aspect > 1:
        width = round(width * aspect)
    elif 0 < aspect < 1:
        height = round(height / aspect)
    if max(width, height) > MOST_PIXELS_ACROSS:
        raise MediaError(
            f"a video may be up to {MOST_PIXELS_ACROSS} pixels wide and high, got {width}x{height} in square pixels"
        )
    return width, height


def house_size(found: Survey, size_multiple: int = 2) -> tuple[int, int]:
    """Width and height in house format: upright, in square pixels, cropped to the multiple."""
    width, height = square_size(found)
    if found.rotation % 180:
        width, height = height, width
    if min(width, height) < size_multiple:
        raise MediaError(f"a video must be {size_multiple} pixels wide and high or more, got {width}x{height}")
    return width - width % size_multiple, height - height % size_multiple


def _why_not_house(found: Survey, format: VideoFormat) -> Iterator[str]:
    is_h264 = found.codec == "h264"
    reasons = {
        f"its codec is {found.codec}, not h264": not is_h264,
        f"its pixels are {found.pix_fmt}, not yuv420p": found.pix_fmt != "yuv420p",
        "it has B-frames": found.reordered,
        "it is interlaced": found.interlaced,
        f"it is shown turned by {found.rotation}°": found.rotation != 0,
        f"its pixels are not square ({found.sample_aspect})": found.sample_aspect != 1,
        f"its size is odd ({found.width}x{found.height})": bool(found.width % 2 or found.height % 2),
        "its colours are not tagged as BT.709 in limited range": found.colour_tags != BT709_LIMITED,
        "it does not start at 0, or is trimmed by an edit list": found.trimmed or not found.pts,
        "its frames are not equally long": not _exactly_constant(found),
        "it does not start with a key frame": found.key_frames[:1] != (0,),
        "its parameter sets (SPS, PPS) are not ours": is_h264 and found.parameter_sets != parameter_sets(format),
    }
    yield from (reason for reason, holds in reasons.items() if holds)


def _exactly_constant(found: Survey) -> bool:
    ticks = Fraction(1) / (found.rate.frame_rate * found.time_base)
    return ticks.denominator == 1 and all(stamp == k * ticks.numerator for k, stamp in enumerate(found.pts))

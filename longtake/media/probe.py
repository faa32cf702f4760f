"""What a video is, and whether its packets can be kept: joined as they are to segments of our own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

from longtake.errors import MediaError
from longtake.media.decode import plain_name
from longtake.media.rates import Rate
from longtake.media.stills import image_format
from longtake.media.survey import MOST_PIXELS_ACROSS, Survey, survey
from longtake.video import Coding, Colour, VideoFormat

FULL_RANGE: Final = 2
GIF_BYTES: Final = 2**24
"""As far as a second frame is looked for."""
HDR_TRANSFERS: Final = {16: "PQ", 18: "HLG"}
PIXEL_FORMATS: Final = {
    "h264": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    "hevc": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    "vp9": ("yuv420p", "yuv422p", "yuv444p"),
    "mpeg4": ("yuv420p",),
}
"""What can be kept: codecs whose segments can be joined, and that our encoders can match."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A readable video; one whose end is missing, up to there."""

    codec: str
    """FFmpeg's name: h264, hevc, vp9, …"""
    format: VideoFormat
    """What it will have in the store: its own where it is kept, else that in house format."""
    num_frames: int
    """That are shown."""
    seconds: float
    has_sound: bool
    is_constant: bool
    """All frames are there, and equally long."""
    why_converted: tuple[str, ...]
    """Empty where its packets are kept as they are."""
    broken: str = ""
    """What is wrong behind its last readable frame; empty where it is whole."""

    @property
    def is_kept(self) -> bool:
        return not self.why_converted


def is_video(path: Path) -> bool:
    """Whether its first bytes announce a video rather than an image. A GIF that moves is one."""
    with path.open("rb") as file:
        start = file.read(GIF_BYTES)
    if start.startswith((b"GIF87a", b"GIF89a")):
        return start.count(b"\x21\xf9\x04") > 1  # a graphic control for each frame
    is_container = start[4:8] == b"ftyp" or start[:4] == b"\x1aE\xdf\xa3" or start[8:12] == b"AVI "
    return is_container and image_format(start[:4096]) is None


def probe(source: Path | BinaryIO) -> Probe:
    """Reads every packet and decodes one frame.

    Raises MediaError with a clear sentence for what is no video: another kind of file, cut off ahead of its first
    frame, sound only, no frames, no bytes, more than 8192 pixels across.
    """
    found = survey(source, salvage=True)
    reasons = tuple(why_not_kept(found))
    format = VideoFormat(*house_size(found), found.rate.frame_rate) if reasons else own_format(found)
    is_constant = found.rate.constant and not found.broken
    return Probe(
        found.codec, format, found.num_frames, found.seconds, found.has_sound, is_constant, reasons, found.broken
    )


def why_not_kept(found: Survey) -> Iterator[str]:
    """What keeps its packets from standing beside ours, a phrase each; nothing where they can."""
    pix_fmt = plain_name(found.pix_fmt)
    pts = sorted(found.coded_pts)
    shown = set(found.pts)
    reasons = {
        f"its codec is {found.codec}": found.codec not in PIXEL_FORMATS,
        f"its pixels are {pix_fmt}": pix_fmt not in PIXEL_FORMATS.get(found.codec, (pix_fmt,)),
        f"its colours are HDR ({HDR_TRANSFERS.get(found.colour_tags.transfer)})": found.colour_tags.transfer
        in HDR_TRANSFERS,
        f"its size is odd ({found.width}x{found.height})": bool(found.width % 2 or found.height % 2),
        "it is HEVC under 64 pixels wide": found.codec == "hevc" and found.width < 64,  # x265 writes out of bounds
        "it is mirrored": found.is_mirrored,
        "it is MPEG-4 with B-frames": found.codec == "mpeg4" and found.reordered,  # decoders lose one at a join
        "it is MPEG-4 of a variable rate, or a fine one": found.codec == "mpeg4" and not _fits_mpeg4(found.rate),
        "its frames have no time stamps": not pts,
        "two of its frames have one time stamp": len(shown) != len(found.pts) or len(set(pts)) != len(pts),
        "it begins in the middle of a group of pictures": found.coded_pts[:1] != tuple(pts[:1])
        or (len(pts) == len(found.pts) and found.key_frames[:1] != (0,)),
        "its edit list shows it in pieces, or hides its end": tuple(pts[len(pts) - len(found.pts) :]) != found.pts,
    }
    yield from (reason for reason, holds in reasons.items() if holds)


def _fits_mpeg4(rate: Rate) -> bool:
    """Whether the encoder of MPEG-4 can count such frames: in 16 bits."""
    return rate.constant and rate.frame_rate.numerator < 2**16


def own_format(found: Survey) -> VideoFormat:
    """The format of a video that is kept as it is."""
    is_full = found.pix_fmt.startswith("yuvj")
    primaries, transfer, matrix, color_range = found.colour_tags
    coding = Coding(
        found.codec,
        plain_name(found.pix_fmt),
        Colour(primaries, transfer, matrix, FULL_RANGE if is_full else color_range),
        found.sample_aspect if found.sample_aspect > 0 else Fraction(1),
        found.rotation,
        found.interlaced,
    )
    width, height = (found.height, found.width) if found.rotation % 180 else (found.width, found.height)
    return VideoFormat(width, height, found.rate.frame_rate, coding)


def in_square_pixels(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size of a picture whose pixels have this aspect: the side that is too short is stretched."""
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect) if aspect > 0 else height


def square_size(found: Survey) -> tuple[int, int]:
    """Width and height in square pixels, before rotation. Raises MediaError where it is too large so."""
    width, height = in_square_pixels(found.width, found.height, found.sample_aspect)
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

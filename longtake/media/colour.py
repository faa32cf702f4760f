"""Converts between 4:2:0 as tagged and full-range RGB, without drift.

FFmpeg's defaults take BT.601 and round down: each trip darkens by a level or more. Here the matrices and ranges are
said both ways, and the scaler rounds to nearest and interpolates chroma in full.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from longtake.frames import Frames
from longtake.media.planes import copy_into, empty_frames, to_video_frame
from longtake.video import BT709, Colour

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
THREADS = 2
SD_WIDTH, SD_HEIGHT = 1024, 576
MATRICES: Final = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""Matrix coefficients of ISO/IEC 23091-2 → the scaler's."""


def meaning(colour: Colour, width: int, height: int) -> tuple[Colorspace, ColorRange]:
    """The matrix and the range of a picture tagged so: what is not said is BT.601 for standard definition, BT.709
    above it, and limited range."""
    is_small = width <= SD_WIDTH and height <= SD_HEIGHT
    matrix = MATRICES.get(colour.matrix, Colorspace.ITU601 if is_small else Colorspace.ITU709)
    return matrix, ColorRange.JPEG if colour.range == ColorRange.JPEG else ColorRange.MPEG


def to_rgb(frames: Frames) -> Frames:
    """4:2:0 as tagged → RGB in full range; RGB comes back as it is."""
    if frames.is_rgb:
        return frames
    matrix, color_range = meaning(frames.colour, frames.width, frames.height)
    rgb = Frames((np.empty((frames.num_frames, frames.height, frames.width, 3), np.uint8),))
    scaler = VideoReformatter()
    for index in range(frames.num_frames):
        frame = scaler.reformat(
            to_video_frame(frames, index),
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
            threads=THREADS,
        )
        copy_into(rgb, index, frame)
    return rgb


def to_yuv(frames: Frames, colour: Colour = BT709) -> Frames:
    """RGB in full range → 4:2:0 of this colour; 4:2:0 comes back as it is.

    Raises ValueError where the width or the height is odd.
    """
    if not frames.is_rgb:
        return frames
    if frames.width % 2 or frames.height % 2:
        raise ValueError(f"4:2:0 needs an even width and height, got {frames.width}x{frames.height}")
    yuv = empty_frames(frames.num_frames, frames.width, frames.height, colour)
    matrix, color_range = meaning(colour, frames.width, frames.height)
    scaler = VideoReformatter()
    for index in range(frames.num_frames):
        made = scaler.reformat(
            to_video_frame(frames, index),
            format="yuv420p",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=color_range,
            interpolation=EXACT,
            threads=THREADS,
        )
        copy_into(yuv, index, made)
    return yuv


def to_colour(frames: Frames, colour: Colour) -> Frames:
    """4:2:0 of any colour, or RGB → 4:2:0 of this colour; the same numbers where both mean the same."""
    width, height = frames.width, frames.height
    if frames.is_rgb:
        return to_yuv(frames, colour)
    given, wanted = meaning(frames.colour, width, height), meaning(colour, width, height)
    if given == wanted:
        return Frames(frames.planes, colour)
    made = empty_frames(frames.num_frames, width, height, colour)
    scaler = VideoReformatter()
    for index in range(frames.num_frames):
        frame = scaler.reformat(
            to_video_frame(frames, index),
            format="yuv420p",
            src_colorspace=given[0],
            dst_colorspace=wanted[0],
            src_color_range=given[1],
            dst_color_range=wanted[1],
            interpolation=EXACT,
            threads=THREADS,
        )
        copy_into(made, index, frame)
    return made


def to_pixels(scaler: VideoReformatter, frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """The frame in another depth or chroma sampling; its colours mean what they meant."""
    matrix, color_range = meaning(_colour_of(frame), frame.width, frame.height)
    return scaler.reformat(
        frame,
        format=pix_fmt,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=color_range,
        dst_color_range=color_range,
        interpolation=EXACT,
        threads=THREADS,
    )


def tag(tagged: VideoFrame | VideoCodecContext, colour: Colour) -> None:
    """Says in a frame, or in what an encoder writes, what its numbers mean."""
    tagged.color_primaries, tagged.color_trc = colour.primaries, colour.transfer
    tagged.colorspace, tagged.color_range = colour.matrix, colour.range


def _colour_of(frame: VideoFrame) -> Colour:
    return Colour(frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)


def to_house_colour(
    scaler: VideoReformatter,
    frame: VideoFrame,
    matrix: Colorspace,
    color_range: ColorRange,
    size: tuple[int, int] | None = None,
) -> VideoFrame:
    """Any frame of FFmpeg's → yuv420p in BT.709 limited range, scaled to `size` (width, height) where it is given."""
    width, height = size or (frame.width, frame.height)
    return scaler.reformat(
        frame,
        width=width,
        height=height,
        format="yuv420p",
        src_colorspace=matrix,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=color_range,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACT,
        threads=THREADS,
    )

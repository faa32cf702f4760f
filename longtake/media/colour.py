"""Converts between BT.709 limited range 4:2:0 and full-range RGB, without drift.

FFmpeg's defaults take BT.601 and round down: each trip darkens by a level or more. Here the matrices and ranges are
said both ways, and the scaler rounds to nearest and interpolates chroma in full.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from longtake.frames import Frames
from longtake.media.planes import copy_into, empty_frames, to_video_frame

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
THREADS = 2


def to_rgb(frames: Frames) -> Frames:
    """4:2:0 in BT.709 limited range → RGB in full range; RGB comes back as it is."""
    if frames.is_rgb:
        return frames
    rgb = Frames((np.empty((frames.num_frames, frames.height, frames.width, 3), np.uint8),))
    scaler = VideoReformatter()
    for index in range(frames.num_frames):
        frame = scaler.reformat(
            to_video_frame(frames, index),
            format="rgb24",
            src_colorspace=Colorspace.ITU709,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
            threads=THREADS,
        )
        copy_into(rgb, index, frame)
    return rgb


def to_yuv(frames: Frames) -> Frames:
    """RGB in full range → 4:2:0 in BT.709 limited range; 4:2:0 comes back as it is.

    Raises ValueError where the width or the height is odd.
    """
    if not frames.is_rgb:
        return frames
    if frames.width % 2 or frames.height % 2:
        raise ValueError(f"4:2:0 needs an even width and height, got {frames.width}x{frames.height}")
    yuv = empty_frames(frames.num_frames, frames.width, frames.height)
    scaler = VideoReformatter()
    for index in range(frames.num_frames):
        source = to_video_frame(frames, index)
        copy_into(yuv, index, to_house_colour(scaler, source, Colorspace.ITU709, ColorRange.JPEG))
    return yuv


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

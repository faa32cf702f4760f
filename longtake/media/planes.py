"""Moves pixels between FFmpeg's frames, whose rows are padded, and packed numpy planes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from av.plane import Plane as AVPlane
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from longtake.frames import Frames, Plane
from longtake.video import BT709, Colour

BATCH_BYTES = 24 * 2**20
BATCH_FRAMES = 16


def batch_length(width: int, height: int) -> int:
    """How many 4:2:0 frames of this size make one batch: a few, so that memory stays flat at any size."""
    return max(1, min(BATCH_FRAMES, BATCH_BYTES // (width * height * 3 // 2)))


def rows(plane: AVPlane, samples: int = 1) -> Plane:
    """A view of one 8-bit plane without its padding: `(height, width * samples)`, writable where FFmpeg's is."""
    assert isinstance(plane, VideoPlane)
    whole = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
    view: Plane = whole[:, : plane.width * samples]
    return view


def empty_frames(num_frames: int, width: int, height: int, colour: Colour = BT709) -> Frames:
    """Room for 4:2:0 frames, not yet filled."""
    chroma = (num_frames, height // 2, width // 2)
    return Frames(
        (np.empty((num_frames, height, width), np.uint8), np.empty(chroma, np.uint8), np.empty(chroma, np.uint8)),
        colour,
    )


def to_video_frame(frames: Frames, index: int) -> VideoFrame:
    """One frame copied into a new frame of FFmpeg's: yuv420p or rgb24."""
    frame = VideoFrame(frames.width, frames.height, "rgb24" if frames.is_rgb else "yuv420p")
    copy_out(frames, index, frame)
    return frame


def copy_out(frames: Frames, index: int, frame: VideoFrame, quarter_turns: int = 0) -> None:
    """Copies frame `index` into a frame of FFmpeg's of the same kind (yuv420p or rgb24) and size.

    Planar frames are turned counter-clockwise by so many quarters on the way.
    """
    if frames.is_rgb:
        rows(frame.planes[0], 3)[:] = frames.planes[0][index].reshape(frames.height, frames.width * 3)
    else:
        for plane, packed in zip(frame.planes, frames.planes, strict=True):
            rows(plane)[:] = np.rot90(packed[index], quarter_turns)


def copy_into(frames: Frames, index: int, frame: VideoFrame, quarter_turns: int = 0) -> None:
    """The way back: a yuv420p or rgb24 frame of FFmpeg's to place `index` of `frames`."""
    if frames.is_rgb:
        frames.planes[0][index] = rows(frame.planes[0], 3).reshape(frames.height, frames.width, 3)
    else:
        for packed, plane in zip(frames.planes, frame.planes, strict=True):
            packed[index] = np.rot90(rows(plane), quarter_turns)


def batches(source: Iterable[VideoFrame], width: int, height: int, colour: Colour, turns: int) -> Iterator[Frames]:
    """Packs yuv420p frames of FFmpeg's, turned as in `copy_into`, each into memory of its own batch."""
    length = batch_length(width, height)
    batch, filled = empty_frames(length, width, height, colour), 0
    for frame in source:
        copy_into(batch, filled, frame, turns)
        filled += 1
        if filled == length:
            yield batch
            batch, filled = empty_frames(length, width, height, colour), 0
    if filled:
        yield batch[:filled]

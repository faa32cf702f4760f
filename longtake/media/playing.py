"""A finished video from its first frame to its last, as it is to be shown: for what is made of a whole file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from longtake.errors import FaultError, MediaError
from longtake.media.colour import MATRICES, meaning
from longtake.media.fields import deinterlaced
from longtake.media.house import source_range
from longtake.media.planes import rows
from longtake.media.probe import in_square_pixels
from longtake.media.survey import PROGRESSIVE, open_video
from longtake.video import Colour

THREADS: Final = 2
ITU601_TAG: Final = 6


class Shown(NamedTuple):
    """A progressive frame, as decoded, and when it is shown, in units of `Playing.time_base`."""

    frame: VideoFrame
    pts: int
    duration: int


@dataclass(frozen=True, slots=True)
class Playing:
    """A file that is being played, once."""

    size: tuple[int, int]
    """Width and height as stored."""
    rotation: int
    """Degrees counter-clockwise that the stored picture has to be turned to be upright: 0, 90, 180 or 270."""
    sample_aspect: Fraction
    """Of a pixel as stored."""
    matrix: Colorspace
    range: ColorRange
    colour: Colour
    """As tagged, with the matrix and the range said in any case."""
    time_base: Fraction
    frame_rate: Fraction
    """About: the frames have their own time stamps."""
    seconds: float
    frames: Iterator[Shown]

    @property
    def square_size(self) -> tuple[int, int]:
        """Width and height in square pixels, not turned."""
        return in_square_pixels(*self.size, self.sample_aspect)


@contextmanager
def play(source: Path) -> Iterator[Playing]:
    """Opens the file. Memory holds a few frames.

    Raises MediaError where it is no video; the frames raise it where one can't be decoded, and when the file is
    deleted: nobody wants it any more.
    """
    with open_video(source) as (container, stream):
        decoded = _decode(source, container, stream)
        first = next(decoded, None)
        if first is None:
            raise MediaError("no frame of the video can be decoded")
        frames: Iterable[VideoFrame] = chain([first], decoded)
        if first.interlaced_frame or stream.codec_context.field_order not in PROGRESSIVE:
            frames = deinterlaced(frames, "interlaced")
        tags = Colour(first.color_primaries, first.color_trc, first.colorspace, source_range(first))
        matrix, color_range = meaning(tags, first.width, first.height)
        assumed = ITU601_TAG if matrix is Colorspace.ITU601 else 1
        tags = tags._replace(matrix=tags.matrix if tags.matrix in MATRICES else assumed, range=int(color_range))
        time_base, aspect = Fraction(stream.time_base or 1), Fraction(stream.sample_aspect_ratio or 1)
        duration = (stream.duration or 0) * time_base or Fraction(container.duration or 0, av.time_base)
        yield Playing(
            size=(first.width, first.height),
            rotation=round(first.rotation / 90) % 4 * 90,
            sample_aspect=aspect if aspect > 0 else Fraction(1),
            matrix=matrix,
            range=color_range,
            colour=tags,
            time_base=time_base,
            frame_rate=Fraction(stream.average_rate or stream.guessed_rate or 24),
            seconds=float(duration),
            frames=_timed(frames, time_base),
        )


def turned(frame: VideoFrame, quarter_turns: int) -> VideoFrame:
    """The frame turned counter-clockwise; yuv420p, or four bytes a pixel. Untagged, as a new one is."""
    if not quarter_turns:
        return frame
    width, height = (frame.width, frame.height) if quarter_turns % 2 == 0 else (frame.height, frame.width)
    made = VideoFrame(width, height, frame.format.name)
    samples = 1 if frame.format.name == "yuv420p" else 4
    for plane, source in zip(made.planes, frame.planes, strict=True):
        pixels = rows(source, samples).reshape(source.height, source.width, samples)
        rows(plane, samples)[:] = np.rot90(pixels, quarter_turns).reshape(plane.height, -1)
    return made


def _decode(source: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    stream.codec_context.thread_type = ThreadType.FRAME
    stream.codec_context.thread_count = THREADS
    seconds = 0.0
    try:
        for frame in container.decode(stream):
            seconds = frame.time or seconds
            if not source.exists():
                raise MediaError("the video was deleted")
            yield frame
    except av.FFmpegError as error:
        raise MediaError(f"the video is broken: decoding failed at {seconds:.2f} s") from error


def _timed(frames: Iterable[VideoFrame], time_base: Fraction) -> Iterator[Shown]:
    held: tuple[VideoFrame, int] | None = None
    duration = 1
    for frame in frames:
        if frame.pts is None or frame.time_base is None:
            raise FaultError("the video has a frame without a time stamp")
        pts = frame.pts if frame.time_base == time_base else round(frame.pts * frame.time_base / time_base)
        if held:
            duration = pts - held[1]
            yield Shown(*held, duration)
        held = frame, pts
    if held:
        frame, pts = held
        own = round(frame.duration * Fraction(frame.time_base or 0) / time_base) if frame.duration else 0
        yield Shown(frame, pts, own or duration)

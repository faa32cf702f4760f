"""Opens objects, and counts their frames in the order they are shown, by their time stamps.

Both readers go through here, so that what is decoded for an engine and what is copied for a join agree on which
frame a time stamp means. An object is an MP4 whose first frame is at 0: frame n is at n frames' time or, where its
segment has stamps, at the n-th of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longtake.errors import FaultError
from longtake.timeline import Segment
from longtake.video import VideoFormat

Opener = Callable[[str], str | BinaryIO]
"""An object's key → a local path, or a seekable binary file, which is closed after use."""


QUICK_OPEN = {"skip_frame": "all", "probesize": "32", "analyzeduration": "1", "fflags": "+noparse"}
"""Takes the stream's facts from the MP4's own index: FFmpeg would decode a key frame to guess what is known."""


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object that is open for reading."""

    key: str
    container: InputContainer
    stream: VideoStream
    ticks: int
    """How many units of the stream's time base one frame lasts; with `pts`, one unit of those."""
    pts: tuple[int, ...] | None
    """Of each frame, where they are not equally long."""

    @property
    def parameter_sets(self) -> bytes:
        return bytes(self.stream.codec_context.extradata or b"")

    def enter_at(self, key_frame: int) -> None:
        """Goes to a key frame: the next packet read is its, or one before it."""
        place = self.pts[key_frame] if self.pts else key_frame
        self.container.seek(place * self.ticks, stream=self.stream)

    def packets(self) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """`(frame number, packet)` from here on, in the order they are coded in."""
        for packet in self.container.demux(self.stream):
            if packet.size:
                yield self.number(packet.pts), packet

    def number(self, pts: int | None) -> int:
        """The frame that a time stamp means. Raises FaultError where it means none exactly."""
        if pts is not None and not pts % self.ticks:
            place = pts // self.ticks
            if self.pts is None:
                return place
            number = bisect_left(self.pts, place)
            if number < len(self.pts) - 1 and self.pts[number] == place:
                return number
        raise FaultError(f"object {self.key} is not what it was: a frame has the time stamp {pts}, which means none")


@contextmanager
def open_segment(open_object: Opener, segment: Segment, format: VideoFormat) -> Iterator[OpenObject]:
    """Opens the object of a segment. Raises FaultError where it is not of `format`, or can't be read."""
    file = open_object(segment.key)
    try:
        try:
            container = av.open(file, "r", format="mp4", options=QUICK_OPEN)
        except av.FFmpegError as error:
            raise FaultError(f"object {segment.key} can't be read: {error}") from error
        with container:
            yield _checked(segment, container, format)
    finally:
        if not isinstance(file, str):
            file.close()


def _checked(segment: Segment, container: InputContainer, format: VideoFormat) -> OpenObject:
    if not container.streams.video:
        raise FaultError(f"object {segment.key} has no video stream")
    stream = container.streams.video[0]
    context = stream.codec_context
    found = context.codec.canonical_name, context.width, context.height
    if found != (format.coding.codec, *format.stored_size):
        raise FaultError(f"object {segment.key} must be {format}, got {found[0]} of {found[1]}x{found[2]}")
    assert stream.time_base is not None
    unit = segment.stamps.time_base if segment.stamps else 1 / format.frame_rate
    ticks = unit / Fraction(stream.time_base)
    if ticks.denominator != 1:
        raise FaultError(
            f"object {segment.key} must be {format}, but its time base {stream.time_base} can't say {unit} s"
        )
    return OpenObject(segment.key, container, stream, ticks.numerator, segment.stamps.pts if segment.stamps else None)

"""Opens objects in house format, and counts their frames: frame n has the time stamp n × one frame's ticks.

Both readers go through here, so that what is decoded for an engine and what is copied for a join agree on which
frame a time stamp means.
"""

from __future__ import annotations

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
    frame_ticks: int
    """How many units of the stream's time base one frame lasts."""

    @property
    def parameter_sets(self) -> bytes:
        return bytes(self.stream.codec_context.extradata or b"")

    def enter_at(self, key_frame: int) -> None:
        """Goes to a key frame: the next packet read is its, or one before it."""
        self.container.seek(key_frame * self.frame_ticks, stream=self.stream)

    def packets(self) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """`(frame number, packet)` from here on. House format has no B-frames: they come in order of time."""
        for packet in self.container.demux(self.stream):
            if packet.size:
                yield self.number(packet.pts), packet

    def number(self, pts: int | None) -> int:
        """The frame that a time stamp means. Raises FaultError where it means none exactly."""
        if pts is None or pts % self.frame_ticks:
            raise FaultError(
                f"object {self.key} is not in house format: a frame has the time stamp {pts}, which is "
                f"no multiple of {self.frame_ticks}"
            )
        return pts // self.frame_ticks


@contextmanager
def open_house_object(open_object: Opener, key: str, format: VideoFormat) -> Iterator[OpenObject]:
    """Opens the object `key`. Raises FaultError where it is not of `format`, or can't be read."""
    file = open_object(key)
    try:
        try:
            container = av.open(file, "r", format="mp4", options=QUICK_OPEN)
        except av.FFmpegError as error:
            raise FaultError(f"object {key} can't be read: {error}") from error
        with container:
            yield _checked(key, container, format)
    finally:
        if not isinstance(file, str):
            file.close()


def _checked(key: str, container: InputContainer, format: VideoFormat) -> OpenObject:
    if not container.streams.video:
        raise FaultError(f"object {key} has no video stream")
    stream = container.streams.video[0]
    context = stream.codec_context
    if (context.width, context.height) != (format.width, format.height):
        raise FaultError(f"object {key} must be {format}, got {context.width}x{context.height}")
    assert stream.time_base is not None
    ticks = 1 / (format.frame_rate * Fraction(stream.time_base))
    if ticks.denominator != 1:
        raise FaultError(f"object {key} must be {format}, but its time base {stream.time_base} can't say that rate")
    return OpenObject(key, container, stream, ticks.numerator)

"""Frames → MP4: the encoders' settings in one place.

What is made from nothing is in house format: H.264 High, yuv420p, BT.709 limited range and tagged so, constant frame
rate. What stands beside a user's footage is coded as that is. Always closed GOPs of two seconds, no B-frames, no key
frames at scene cuts. Nothing in the settings looks at the content, so that the parameter sets are the same bytes for
one `VideoFormat`, and their ids are ours alone: segments are joined by copying packets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Final, TypeVar

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from longtake.errors import FaultError
from longtake.frames import Frames
from longtake.media.colour import tag, to_pixels, to_yuv
from longtake.media.output import whole_file, with_data
from longtake.media.planes import copy_out, empty_frames
from longtake.timeline import Stamps
from longtake.video import VideoFormat

F = TypeVar("F", bound=Iterable[Frames])
GOP_SECONDS: Final = 2
THREADS: Final = 2
PARAMETER_SET_ID: Final = 31
"""Of our SPS and PPS in H.264, the highest there is: nobody else's encoder begins there, so that both can be kept side
by side (ISO/IEC 14496-15 lists them all in one record)."""
X264_OPTIONS: Final = {
    "preset": "veryfast",
    "crf": "16",
    # force-cfr: the time base in the SPS is the rate; cpu-independent: the same bytes on every machine.
    # The last ones keep the picture over generations. Motion in whole pixels alone (subme=0) keeps the mean to 0.2
    # levels, but what is smooth turns grainy: its Laplacian's variance more than doubles in eight generations. So
    # subme=2, whose rounding adds up to a tenth of a level each time; a narrower dead zone keeps texture; chroma is
    # coded finely.
    "x264-params": "bframes=0:scenecut=0:open-gop=0:repeat-headers=0:force-cfr=1:cpu-independent=1"
    f":subme=2:deadzone-inter=11:deadzone-intra=8:no-psy=1:chroma-qp-offset=-12:sps-id={PARAMETER_SET_ID}",
}
ENCODERS: Final = {
    "h264": ("libx264", X264_OPTIONS),
    "hevc": (
        "libx265",
        {
            "preset": "veryfast",
            "crf": "18",
            "x265-params": "bframes=0:scenecut=0:open-gop=0:repeat-headers=0:log-level=error:pools=2:frame-threads=1",
        },
    ),
    "vp9": (
        "libvpx-vp9",
        {
            "deadline": "realtime",
            "cpu-used": "6",
            "crf": "20",
            "b": "0",
            "row-mt": "1",
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
        },
    ),
    "mpeg4": ("mpeg4", {"flags": "+qscale", "global_quality": "236", "sc_threshold": "1000000000"}),  # 2 × 118: q 2
}
"""FFmpeg's name of a codec → our encoder of it and its options."""
MP4_OPTIONS: Final = {
    "use_editlist": "0",  # an edit list counts milliseconds: it would round the end of what starts at 0 anyway
    "fflags": "+bitexact",  # no version strings: the same frames give the same file
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """What was written."""

    num_frames: int
    key_frames: tuple[int, ...]
    """Where it can be entered: ascending frame numbers, the first is 0."""
    num_bytes: int


Publish = Callable[[bytes, int], None]
"""Takes a group of frames as soon as it is coded, as an MP4 of its own, and how many frames it has."""


def encode(
    frames: Iterable[Frames],
    format: VideoFormat,
    path: Path,
    stamps: Stamps | None = None,
    publish: Publish | None = None,
) -> Encoded:
    """Encodes batches of frames, YUV or RGB, to an MP4 of this format at `path`, pulling one batch at a time.

    The frames are equally long, unless `stamps` tell when each is shown; only of equally long ones can the groups be
    published while the rest is still to come.
    While a batch is encoded, in a thread of its own, the next one is pulled, in the caller's; there are never more
    than the two, and a batch must not be written to again. `frames`, where it is a generator, is closed in any case;
    what it pulls from in turn is its caller's to close. No half file is left. Raises FaultError where a batch is not
    of the format's size, or where there is no frame at all; passes on whatever the generator raises.
    """
    with closed(frames), whole_file(path) as part:
        with _output(str(part), format, stamps) as (container, stream):
            writing = _Writing(container, stream, format, stamps, publish)
            _write_all(frames, writing)
        if not writing.num_frames:
            raise FaultError(f"nothing to encode for {path.name}: no frame was rendered")
        num_bytes = part.stat().st_size
    return Encoded(writing.num_frames, tuple(writing.key_frames), num_bytes)


@contextmanager
def closed(frames: F) -> Iterator[F]:
    """The frames, which are closed at the end where they are a generator; a list has nothing to close."""
    try:
        yield frames
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()


def _write_all(frames: Iterable[Frames], writing: _Writing) -> None:
    """Writes each batch while the next one is pulled. Whatever ends this early ends the writing within a frame."""
    with ThreadPoolExecutor(1, "longtake-encode") as pool:
        last: Future[None] | None = None
        try:
            for batch in frames:
                if last is not None:
                    last.result()
                last = pool.submit(writing.write, batch)
            if last is not None:
                last.result()
            pool.submit(writing.finish).result()
        except BaseException:
            writing.given_up.set()
            raise
        finally:
            last = None  # what it raised holds this frame: holding each other, they would keep the frames alive


class _Writing:
    """A file that is being written."""

    def __init__(
        self,
        container: OutputContainer,
        stream: VideoStream,
        format: VideoFormat,
        stamps: Stamps | None,
        publish: Publish | None,
    ) -> None:
        self.num_frames = 0
        self.key_frames: list[int] = []
        self.given_up = Event()
        self._container, self._stream, self._format, self._stamps = container, stream, format, stamps
        self._publish, self._group = publish, _Group(stream)
        self._turns = -format.coding.rotation // 90
        # The encoder copies what it is given: one frame serves all, and its memory stays warm.
        self._frame = VideoFrame(*format.stored_size, "yuv420p")
        tag(self._frame, format.coding.colour)
        self._scaler = None if format.coding.pix_fmt == "yuv420p" else VideoReformatter()

    def write(self, batch: Frames) -> None:
        if (batch.width, batch.height) != (self._format.width, self._format.height):
            raise FaultError(f"frames to encode must be {self._format.width}x{self._format.height}, got {batch}")
        planar = to_yuv(batch, self._format.coding.colour)
        for index in range(planar.num_frames):
            if self.given_up.is_set():
                return
            copy_out(planar, index, self._frame, self._turns)
            frame = self._frame
            if self._scaler:
                frame = to_pixels(self._scaler, frame, self._format.coding.pix_fmt)
            frame.pts = self._stamps.pts[self.num_frames] if self._stamps else self.num_frames
            frame.time_base = _unit(self._format, self._stamps)
            self.num_frames += 1
            self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._mux(self._stream.encode(None))
        if self._publish and self._group.num_frames:
            self._publish(*self._group.taken())

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            assert packet.pts is not None  # before muxing in units of the encoder
            number = bisect_left(self._stamps.pts, packet.pts) if self._stamps else packet.pts
            if packet.is_keyframe:
                self.key_frames.append(number)
                if self._publish and self._group.num_frames:
                    self._publish(*self._group.taken())
            if self._publish:
                self._container.start_encoding()
                self._group.add(packet)
            if self._stamps:
                packet.duration = self._stamps.pts[number + 1] - packet.pts
            self._container.mux_one(packet)


class _Group:
    """The packets since the last key frame, once more, as an MP4 of their own."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self.num_frames = 0
        self._file = BytesIO()

    def add(self, packet: Packet[Any]) -> None:
        if not self.num_frames:
            self._file = BytesIO()
            self._container = av.open(self._file, "w", format="mp4", options=MP4_OPTIONS)
            self._output = self._container.add_stream_from_template(self._stream)
        copy = with_data(packet, bytes(packet))
        copy.time_base, copy.stream = packet.time_base, self._output
        copy.pts = copy.dts = self.num_frames
        copy.duration = 1
        self._container.mux_one(copy)
        self.num_frames += 1

    def taken(self) -> tuple[bytes, int]:
        self._container.close()
        num_frames, self.num_frames = self.num_frames, 0
        return self._file.getvalue(), num_frames


@contextmanager
def _output(file: str, format: VideoFormat, stamps: Stamps | None) -> Iterator[tuple[OutputContainer, VideoStream]]:
    """An MP4 with one video stream, whose encoder counts in frames (pts 0, 1, 2, …) or in the stamps' time base."""
    coding = format.coding
    encoder, encoder_options = ENCODERS[coding.codec]
    with av.open(file, "w", format="mp4", options=MP4_OPTIONS | {"movflags": "+faststart"}) as container:
        assert isinstance(container, OutputContainer)
        # libvpx takes no frame that is shorter than its rate says, even where time stamps say so.
        rate = 1 / stamps.time_base if stamps and coding.codec == "vp9" else format.frame_rate
        stream = container.add_stream(encoder, rate=rate, options=dict(encoder_options))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        (context.width, context.height), context.pix_fmt = format.stored_size, coding.pix_fmt
        context.time_base = _unit(format, stamps)
        if coding.codec == "h264" and coding.pix_fmt == "yuv420p":
            context.profile = "High"
        context.gop_size = gop_length(format.frame_rate)
        context.max_b_frames = 0
        context.thread_count = THREADS
        context.sample_aspect_ratio = coding.sample_aspect
        tag(context, coding.colour)
        if coding.rotation:
            stream.set_display_rotation(coding.rotation)
        yield container, stream


def _unit(format: VideoFormat, stamps: Stamps | None) -> Fraction:
    return stamps.time_base if stamps else 1 / format.frame_rate


def gop_length(frame_rate: Fraction) -> int:
    """The most frames from one key frame to the next."""
    return max(1, round(GOP_SECONDS * frame_rate))


@lru_cache(maxsize=64)
def parameter_sets(format: VideoFormat) -> bytes:
    """The decoder's record (avcC, hvcC, …) that what we encode in this format carries; empty where a codec has none."""
    with TemporaryDirectory(prefix="longtake-") as folder:
        path = Path(folder) / "one.mp4"
        encode([empty_frames(1, format.width, format.height, format.coding.colour)], format, path)
        with av.open(str(path), "r") as written:
            assert isinstance(written, InputContainer)
            return bytes(written.streams.video[0].codec_context.extradata or b"")

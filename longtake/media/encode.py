"""House format: the encoder's settings in one place, and frames → MP4.

H.264 High, yuv420p, BT.709 limited range and tagged so, constant frame rate, closed GOPs of two seconds, no
B-frames, no key frames at scene cuts. Nothing in the settings looks at the content, so that the parameter sets are
the same bytes for one `VideoFormat`, and segments can be joined by copying packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from longtake.errors import FaultError
from longtake.frames import Frames
from longtake.media.colour import to_yuv
from longtake.media.output import whole_file
from longtake.media.planes import copy_out, rows
from longtake.video import VideoFormat

F = TypeVar("F", bound=Iterable[Frames])
GOP_SECONDS: Final = 2
THREADS: Final = 2
X264_OPTIONS: Final = {
    "preset": "veryfast",
    "crf": "17",
    # force-cfr: the time base in the SPS is the rate; cpu-independent: the same bytes on every machine.
    # The last three keep colours over generations. Between whole pixels H.264 rounds its prediction up, and what is
    # too little to be coded stays brighter: so motion is in whole pixels (subme=0), which leaves only chroma between
    # them, and that is coded finely. Eight generations of five clips drift by 0.3 levels in the mean of R, G and B
    # (0.7 with the preset alone), for a third to twice more bytes, and are encoded 1.3 times as fast.
    "x264-params": "bframes=0:scenecut=0:open-gop=0:repeat-headers=0:force-cfr=1:cpu-independent=1"
    ":subme=0:no-psy=1:chroma-qp-offset=-12",
}
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


def encode(frames: Iterable[Frames], format: VideoFormat, path: Path) -> Encoded:
    """Encodes batches of frames, YUV or RGB, to a house-format MP4 at `path`, pulling one batch at a time.

    While a batch is encoded, in a thread of its own, the next one is pulled, in the caller's; there are never more
    than the two, and a batch must not be written to again. `frames`, where it is a generator, is closed in any case;
    what it pulls from in turn is its caller's to close. No half file is left. Raises FaultError where a batch is not
    of the format's size, or where there is no frame at all; passes on whatever the generator raises.
    """
    with closed(frames), whole_file(path) as part:
        with house_output(str(part), format, {"movflags": "+faststart"}) as (container, stream):
            writing = _Writing(container, stream, format)
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
    """A house-format file that is being written."""

    def __init__(self, container: OutputContainer, stream: VideoStream, format: VideoFormat) -> None:
        self.num_frames = 0
        self.key_frames: list[int] = []
        self.given_up = Event()
        self._container, self._stream, self._format = container, stream, format
        # x264 copies what it is given: one frame serves all, and its memory stays warm.
        self._frame = VideoFrame(format.width, format.height, "yuv420p")
        self._frame.time_base = 1 / format.frame_rate

    def write(self, batch: Frames) -> None:
        if (batch.width, batch.height) != (self._format.width, self._format.height):
            raise FaultError(f"frames to encode must be {self._format.width}x{self._format.height}, got {batch}")
        planar = to_yuv(batch)
        for index in range(planar.num_frames):
            if self.given_up.is_set():
                return
            copy_out(planar, index, self._frame)
            self._frame.pts = self.num_frames
            self.num_frames += 1
            _mux(self._container, self._stream.encode(self._frame), self.key_frames)

    def finish(self) -> None:
        _mux(self._container, self._stream.encode(None), self.key_frames)


def _mux(container: OutputContainer, packets: list[Packet[Any]], key_frames: list[int]) -> None:
    for packet in packets:
        if packet.is_keyframe:
            assert packet.pts is not None
            key_frames.append(packet.pts)  # before muxing, one tick is one frame
        container.mux_one(packet)


@contextmanager
def house_output(
    file: str | BytesIO,
    format: VideoFormat,
    options: dict[str, str],
) -> Iterator[tuple[OutputContainer, VideoStream]]:
    """An MP4 with one house-format video stream whose encoder counts in frames: pts 0, 1, 2, …"""
    with av.open(file, "w", format="mp4", options=MP4_OPTIONS | options) as container:
        assert isinstance(container, OutputContainer)
        stream = container.add_stream("libx264", rate=format.frame_rate, options=dict(X264_OPTIONS))
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = format.width, format.height, "yuv420p"
        context.time_base = 1 / format.frame_rate
        context.profile = "High"
        context.gop_size = gop_length(format.frame_rate)
        context.max_b_frames = 0
        context.thread_count = THREADS
        context.sample_aspect_ratio = Fraction(1)
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        yield container, stream


def gop_length(frame_rate: Fraction) -> int:
    """The most frames from one key frame to the next."""
    return max(1, round(GOP_SECONDS * frame_rate))


@lru_cache(maxsize=64)
def parameter_sets(format: VideoFormat) -> bytes:
    """The avcC record (ISO/IEC 14496-15) that house-format files of this format carry: their SPS and PPS."""
    memory = BytesIO()
    with house_output(memory, format, {}) as (container, stream):
        frame = VideoFrame(format.width, format.height, "yuv420p")
        for plane, level in zip(frame.planes, (16, 128, 128), strict=True):
            rows(plane)[:] = np.uint8(level)
        frame.pts = 0
        frame.time_base = 1 / format.frame_rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux_one(packet)
    memory.seek(0)
    with av.open(memory, "r") as written:
        assert isinstance(written, InputContainer)
        return bytes(written.streams.video[0].codec_context.extradata or b"")

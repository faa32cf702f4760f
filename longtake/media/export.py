"""A finished video → another kind of file, for people who need one: WebM, GIF, or ProRes for an editing desk."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from longtake.errors import StoreError
from longtake.media.colour import EXACT, tag
from longtake.media.gif import write_gif
from longtake.media.output import whole_file
from longtake.media.playing import Playing, play, turned
from longtake.media.sound_encode import JITTER_SECONDS, SoundEncoder, zeros
from longtake.media.survey import open_video

Kind = Literal["webm", "gif", "prores"]
KINDS: Final[dict[Kind, str]] = {"webm": "webm", "gif": "gif", "prores": "mov"}
"""What can be made → how its name ends."""
THREADS: Final = 2
NICENESS: Final = 10
"""What is rendered goes before what is converted."""
LAMBDA: Final = 118
"""FF_QP2LAMBDA."""
LAYOUTS: Final = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Channels → what Opus calls them (RFC 7845, 5.1.1.2)."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one kind is written."""

    container: str
    video: str
    video_options: dict[str, str]
    pix_fmt: str
    is_plain: bool
    """The picture is upright, in square pixels; else the file says how it is turned, and how its pixels are shaped."""
    keeps_range: bool
    """Full range can be said; else all is brought to limited range."""
    sound: str
    sound_rate: int | None
    """None: as it is."""


RECIPES: Final = {
    "webm": _Recipe(
        container="webm",
        video="libvpx-vp9",
        # Of equal quality as "good" at its fastest, for a sixth of the time and a fifth more bytes.
        video_options={
            "deadline": "realtime",
            "cpu-used": "5",
            "crf": "24",
            "b": "0",
            "row-mt": "1",
            "tile-columns": "2",
            "lag-in-frames": "25",
            "auto-alt-ref": "1",
        },
        pix_fmt="yuv420p",
        is_plain=True,
        keeps_range=True,
        sound="libopus",
        sound_rate=48_000,
    ),
    "prores": _Recipe(
        container="mov",
        video="prores_ks",
        # One scale of quantisers for all: better, and as many bytes, for a sixth of the time that seeking one takes.
        video_options={"profile": "hq", "vendor": "apl0", "flags": "+qscale", "global_quality": str(4 * LAMBDA)},
        pix_fmt="yuv422p10le",
        is_plain=False,
        keeps_range=False,
        sound="pcm_s24le",
        sound_rate=None,
    ),
}


def export(source: Path, kind: Kind, path: Path) -> None:
    """Makes of the video at `source` one of this kind at `path`, with its frames' own time stamps and its sound.

    WebM (VP9, Opus) is upright, in square pixels; QuickTime (ProRes 422 HQ, PCM) is stored as the video is, and says
    how it is to be turned. Both keep all colours, and say what they mean. For GIF see `gif`. Interlaced frames become
    progressive.
    Memory does not grow with the length; no half file is left. This thread, and the codecs' threads, step back behind
    other processes from now on.
    Raises MediaError where the video can't be read, is deleted meanwhile, or is too long for a GIF; StoreError where
    there is no room.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    try:
        with whole_file(path) as part:
            if kind == "gif":
                write_gif(source, part)
            else:
                _write(source, RECIPES[kind], part)
    except OSError as error:
        raise StoreError(f"what is made of the video can't be written: {error.strerror}", retryable=True) from error


def _write(source: Path, recipe: _Recipe, part: Path) -> None:
    with play(source) as playing, _listen(source) as heard:
        options = {"fflags": "+bitexact", "video_track_timescale": str(playing.time_base.denominator)}
        options = options if recipe.container == "mov" else {"fflags": "+bitexact"}
        with av.open(str(part), "w", format=recipe.container, options=options) as output:
            assert isinstance(output, OutputContainer)
            pictures = _Pictures(output, playing, recipe)
            sound = _Sound(output, heard, recipe) if heard else None
            output.start_encoding()  # from now on the encoders are open, and say how many samples a frame takes
            tracks = [pictures.packets(), *([sound.packets()] if sound else [])]
            for packet in heapq.merge(*tracks, key=_seconds):
                output.mux_one(packet)


def _seconds(packet: Packet[Any]) -> Fraction:
    assert packet.dts is not None
    return packet.dts * Fraction(packet.time_base)


class _Pictures:
    """The video stream of what is written."""

    def __init__(self, output: OutputContainer, playing: Playing, recipe: _Recipe) -> None:
        self._playing, self._recipe = playing, recipe
        self._turns = playing.rotation // 90 if recipe.is_plain else 0
        self._range = playing.range if recipe.keeps_range else ColorRange.MPEG
        self._colour = playing.colour._replace(range=int(self._range))
        self._scaler = VideoReformatter()
        across, down = playing.square_size if recipe.is_plain else playing.size
        self._size = across + across % 2, down + down % 2
        width, height = self._size[::-1] if self._turns % 2 else self._size
        stream = output.add_stream(recipe.video, rate=playing.frame_rate, options=dict(recipe.video_options))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, recipe.pix_fmt
        context.time_base = stream.time_base = playing.time_base
        context.thread_count = THREADS
        context.sample_aspect_ratio = Fraction(1) if recipe.is_plain else playing.sample_aspect
        tag(context, self._colour)
        if playing.rotation and not recipe.is_plain:
            stream.set_display_rotation(playing.rotation)
        self._stream = stream

    def packets(self) -> Iterator[Packet[Any]]:
        durations: dict[int, int] = {}
        for frame, pts, duration in self._playing.frames:
            durations[pts] = duration
            yield from self._timed(self._stream.encode(self._ready(frame, pts)), durations)
        yield from self._timed(self._stream.encode(None), durations)

    def _timed(self, packets: list[Packet[Any]], durations: dict[int, int]) -> Iterator[Packet[Any]]:
        for packet in packets:
            assert packet.pts is not None
            packet.duration = durations.pop(packet.pts, packet.duration or 0)
            yield packet

    def _ready(self, frame: VideoFrame, pts: int) -> VideoFrame:
        made = self._scaler.reformat(
            frame,
            *self._size,
            format=self._recipe.pix_fmt,
            src_colorspace=self._playing.matrix,
            dst_colorspace=self._playing.matrix,
            src_color_range=self._playing.range,
            dst_color_range=self._range,
            interpolation=EXACT,
            threads=THREADS,
        )
        made = turned(made, self._turns)
        tag(made, self._colour)
        made.pts, made.time_base = pts, self._playing.time_base
        return made


class _Sound:
    """The audio stream of what is written."""

    def __init__(self, output: OutputContainer, heard: Iterator[AudioFrame], recipe: _Recipe) -> None:
        first = next(heard)
        self._heard = chain([first], heard)
        stream = output.add_stream(recipe.sound, rate=recipe.sound_rate or first.sample_rate)
        assert isinstance(stream, AudioStream)
        context = stream.codec_context
        assert isinstance(context, AudioCodecContext)
        context.layout = first.layout.name
        if recipe.sound == "libopus":
            context.layout = LAYOUTS.get(first.layout.nb_channels, "stereo")
            context.bit_rate = 64_000 * context.layout.nb_channels
        self._stream, self._context = stream, context
        self._has_gaps = recipe.sound == "libopus"

    def packets(self) -> Iterator[Packet[Any]]:
        encoder = SoundEncoder(self._context)
        end: Fraction | None = None
        for frame in self._heard:
            start = None if frame.pts is None else frame.pts * Fraction(frame.time_base or 0)
            # PCM is played without a break, whatever its time stamps say: a gap has to be silence all through.
            while not self._has_gaps and end is not None and start is not None and start - end > 1 + JITTER_SECONDS:
                silence = zeros(self._context, self._context.sample_rate)
                yield from self._of(encoder.write(silence, end))
                end += 1
            yield from self._of(encoder.write(frame, start))
            if start is not None:
                end = start + Fraction(frame.samples, frame.sample_rate)
        yield from self._of(encoder.finish())

    def _of(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        for packet in packets:
            packet.stream = self._stream
            if not packet.time_base:
                packet.time_base = Fraction(1, self._context.sample_rate)
            yield packet


@contextmanager
def _listen(source: Path) -> Iterator[Iterator[AudioFrame] | None]:
    """The frames of the file's sound; None where it has none that can be decoded. It is opened once more for that."""
    with open_video(source) as (container, _):
        frames = _hear(container, container.streams.audio[0]) if container.streams.audio else iter(())
        first = next(frames, None)
        yield chain([first], frames) if first else None


def _hear(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in container.demux(stream):
        with suppress(av.InvalidDataError):  # what can't be decoded is silent
            yield from [frame for frame in stream.decode(packet) if frame.samples]

"""The sound of a file that somebody brought → an object: its packets as they came, in an MP4 of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition

from longtake.errors import MediaError
from longtake.media.encode import MP4_OPTIONS
from longtake.media.output import whole_file
from longtake.media.sound_codec import CodedSound, look_at
from longtake.media.sound_encode import ENCODER_OPTIONS, MOST_GAP_SECONDS, SoundEncoder
from longtake.media.survey import open_video

MP4_CODECS: Final = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
"""What MP4 carries and players play."""
AAC_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
AAC_BITS_PER_CHANNEL: Final = 96_000
COARSEST_ROUNDING: Final = Fraction(1, 500)
"""A container with longer ticks (AVI: one for each packet) does not round to them, it counts."""
CODEC_NAMES: Final = {
    "aac": "AAC",
    "aac_latm": "AAC (LATM)",
    "amrnb": "AMR",
    "amrwb": "AMR-WB",
    "dca": "DTS",
    "mp2": "MPEG layer II",
    "opus": "Opus",
    "truehd": "TrueHD",
    "vorbis": "Vorbis",
}


@dataclass(frozen=True, slots=True)
class KeptSound:
    """What was written."""

    start: Fraction
    """When the first sample that the first packet decodes to is played, in seconds after the video's first frame."""
    codec: str
    """FFmpeg's name."""
    rate: int
    channels: int
    num_bytes: int


_Way = Callable[[Path, CodedSound, Fraction, Path, Callable[[], None], list[str]], KeptSound]


def keep_sound(
    source: Path, zero: Fraction, path: Path, alive: Callable[[], None] = lambda: None
) -> tuple[KeptSound | None, tuple[str, ...]]:
    """Copies the sound of a video file to an MP4 at `path` that holds nothing else: what was written, and remarks.

    The first packet has pts 0, there is no edit list, and the packets keep their times; `zero` is the time of the
    video's first frame on the same clock. Codecs that MP4 does not carry are encoded to AAC, and a remark says so.
    A video whose sound can't be read stays a video: there is None then, and a remark says why. `alive` is called for
    each packet; what it raises ends the work. Memory holds one packet. Raises MediaError where the file is no video.
    """
    with _open_sound(source) as (container, stream):
        if stream is None:
            return None, ()
        try:
            context = stream.codec_context
            if context is None:
                raise MediaError("its codec is not known")
            said = context.sample_rate, context.layout.nb_channels
            sound = look_at(container, stream)
        except (MediaError, ValueError, av.FFmpegError) as error:
            return None, (f"sound left out: {_why(error)}",)
    ways: list[tuple[_Way, tuple[str, ...]]] = [(_encode, (f"{codec_name(sound.codec)} → AAC",))]
    if sound.codec in MP4_CODECS and said == (sound.rate, sound.channels):
        ways.insert(0, (_copy, ()))
    failed = ""
    for write, said_first in ways:  # MP4 may have no place for this kind of it
        remarks: list[str] = []
        try:
            return write(source, sound, zero, path, alive, remarks), (*said_first, *remarks)
        except (ValueError, av.FFmpegError) as error:
            if isinstance(error, OSError):
                raise  # the disk, not the sound
            failed = _why(error)
    return None, (f"sound left out: {failed}",)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, av.FFmpegError) else None) or str(error)


def codec_name(codec: str) -> str:
    """As people call it."""
    if codec.startswith("pcm_"):
        return "PCM"
    return CODEC_NAMES.get(codec) or ("WMA" if codec.startswith("wma") else codec.upper())


@contextmanager
def _open_sound(source: Path) -> Iterator[tuple[InputContainer, AudioStream | None]]:
    """The file and the stream that players play: the first that is marked as the default one, else the first."""
    with open_video(source) as (container, _):
        streams = [stream for stream in container.streams.audio if not stream.disposition & Disposition.dependent]
        marked = [stream for stream in streams if stream.disposition & Disposition.default]
        yield container, next(iter(marked + streams), None)


class _Places:
    """Where packets begin, in samples after the first one: as they are stamped, where that can be believed.

    What a container rounds off (Matroska: to milliseconds) the count of samples brings back. A clock that is set
    anew in the middle goes on from where it was.
    """

    def __init__(self, rate: int, tick: Fraction) -> None:
        self._rate = rate
        self._tick = tick
        is_exact = (1 / (tick * rate)).denominator == 1 or tick > COARSEST_ROUNDING
        self._rounding = 0 if is_exact else ceil(tick * rate)
        """By how many samples a stamp may be off because the container counts in other units."""
        self.first: Fraction | None = None
        """When the first packet begins, in seconds."""
        self._end = 0
        self._set_anew = 0

    def next(self, seconds: Fraction | None, num_samples: int, primed: Fraction) -> int | None:
        """Where the next packet begins, or None where others lie already.

        `primed`: how many seconds of it are not to be heard. It is the rest that the container gave a rounded time.
        """
        if self.first is None:
            self.first = seconds or Fraction(0)
            if self._rounding:
                self.first = round((self.first + primed) / self._tick) * self._tick - primed
        place = self._end if seconds is None else round((seconds - self.first) * self._rate) + self._set_anew
        if not -self._rate <= place - self._end <= MOST_GAP_SECONDS * self._rate:
            self._set_anew += self._end - place
            place = self._end
        if abs(place - self._end) <= self._rounding:
            place = self._end
        if place <= self._end - max(num_samples, 1):
            return None
        self._end = place + num_samples
        return place


def _packets(
    container: InputContainer, stream: AudioStream, alive: Callable[[], None], remarks: list[str]
) -> Iterator[Packet[AudioStream]]:
    """All packets that are played, as far as the file can be read."""
    begun = False
    last: Fraction | None = None
    try:
        for packet in container.demux(stream):
            alive()
            if packet.size and not (packet.is_discard and begun):  # an edit list hides what lies between two parts
                begun = begun or not packet.is_discard
                last = _seconds(packet)
                yield packet
    except av.FFmpegError as error:
        remarks.append(f"the sound ends at {float(last or 0):.2f} s: {_why(error)}")


def _seconds(packet: Packet[AudioStream]) -> Fraction | None:
    stamp = packet.dts if packet.pts is None else packet.pts
    return None if stamp is None else stamp * packet.time_base


def _primed(packet: Packet[AudioStream], rate: int) -> Fraction:
    if not packet.has_sidedata("skip_samples"):
        return Fraction(0)
    return Fraction(int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little"), rate)


def _copy(
    source: Path, sound: CodedSound, zero: Fraction, path: Path, alive: Callable[[], None], remarks: list[str]
) -> KeptSound:
    with _open_sound(source) as (container, stream), whole_file(path) as part:
        assert stream is not None
        places = _Places(sound.rate, Fraction(stream.time_base or 1))
        with av.open(str(part), "w", format="mp4", options=MP4_OPTIONS) as output:
            assert isinstance(output, OutputContainer)
            copy = output.add_stream_from_template(stream)
            copy.time_base = Fraction(1, sound.rate)
            for packet in _packets(container, stream, alive, remarks):
                num_samples = sound.num_samples(bytes(packet))
                place = places.next(_seconds(packet), num_samples, _primed(packet, sound.rate))
                if place is not None:
                    packet.pts = packet.dts = place
                    packet.duration = num_samples
                    packet.time_base = copy.time_base
                    packet.stream = copy
                    output.mux_one(packet)
        assert places.first is not None
        return KeptSound(places.first - zero, sound.codec, sound.rate, sound.channels, part.stat().st_size)


def _encode(
    source: Path, sound: CodedSound, zero: Fraction, path: Path, alive: Callable[[], None], remarks: list[str]
) -> KeptSound:
    with _open_sound(source) as (container, stream), whole_file(path) as part:
        assert stream is not None
        with av.open(str(part), "w", format="mp4", options=MP4_OPTIONS) as output:
            assert isinstance(output, OutputContainer)
            rate = sound.rate if sound.rate in AAC_RATES else 48000
            coded = output.add_stream("aac", rate=rate, options=dict(ENCODER_OPTIONS["aac"]))
            coded.layout = {1: "mono", 2: "stereo"}.get(sound.channels, "5.1")
            coded.bit_rate = AAC_BITS_PER_CHANNEL * coded.channels
            coded.codec_context.open()
            first: int | None = None
            for packet in _through(SoundEncoder(coded.codec_context), _decoded(container, stream, alive, remarks)):
                assert packet.pts is not None
                first = packet.pts if first is None else first
                packet.pts = packet.dts = packet.pts - first
                packet.time_base = Fraction(1, rate)
                packet.stream = coded
                output.mux_one(packet)
        assert first is not None
        return KeptSound(Fraction(first, rate) - zero, "aac", rate, coded.channels, part.stat().st_size)


def _through(encoder: SoundEncoder, frames: Iterator[tuple[AudioFrame, Fraction | None]]) -> Iterator[Packet[Any]]:
    for frame, seconds in frames:
        yield from encoder.write(frame, seconds)
    yield from encoder.finish()


def _decoded(
    container: InputContainer, stream: AudioStream, alive: Callable[[], None], remarks: list[str]
) -> Iterator[tuple[AudioFrame, Fraction | None]]:
    """Frames with their times; packets that can't be decoded are passed over."""
    tick = Fraction(stream.time_base or 1)
    for packet in _packets(container, stream, alive, remarks):
        with suppress(av.FFmpegError):
            yield from [(frame, None if frame.pts is None else frame.pts * tick) for frame in stream.decode(packet)]
    with suppress(av.FFmpegError):
        yield from [(frame, None if frame.pts is None else frame.pts * tick) for frame in stream.decode(None)]

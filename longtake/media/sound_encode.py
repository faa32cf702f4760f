"""Decoded sound → coded sound, at the times its frames have: for codecs that can't be kept, or stand beside others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext
from av.packet import Packet

from longtake.media.sound_codec import CodedSound, last_frames, plays_alike

ENCODERS: Final = {"mp3": "libmp3lame", "opus": "libopus"}
"""Where FFmpeg's encoder is not called as the codec is."""
ENCODER_OPTIONS: Final = {
    "aac": {"aac_coder": "fast", "aac_pns": "0"},  # a fifth of the time; at our bit rates no worse
    "mp3": {"reservoir": "0"},  # so that a frame needs no bytes of the one before
    "opus": {"frame_duration": "10"},
}
JITTER_SECONDS: Final = Fraction(1, 100)
"""By this much time stamps may be wrong before they are believed more than the count of samples."""
MOST_SILENCE_SECONDS: Final = 10
"""A longer gap is left in the time stamps."""
MOST_GAP_SECONDS: Final = 3600
"""What jumps further, forwards or more than a second backwards, is no gap but a clock that was set anew."""


def encoder_like(
    sound: CodedSound, *, rate: int | None = None, layout: str | None = None, samples: int | None = None
) -> AudioCodecContext:
    """An encoder, opened, of a stream's codec at its rate and layout. Raises FFmpegError where there is none.

    `samples`: of an Opus packet, in place of those of 10 ms.
    """
    context = CodecContext.create(ENCODERS.get(sound.codec, sound.codec), "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate = rate or sound.rate
    context.layout = layout or sound.layout
    context.format = _sample_format(sound, context)
    context.bit_rate = _bit_rate(sound)
    context.options = dict(ENCODER_OPTIONS.get(sound.codec, {}))
    if sound.codec == "flac":
        context.options |= {"frame_size": str(sound.samples)}
    if sound.codec == "opus" and samples:  # in milliseconds, of samples at 48 kHz
        context.options |= {"frame_duration": f"{samples / 48:g}"}
    context.open()
    return context


def _sample_format(sound: CodedSound, context: AudioCodecContext) -> str:
    known = [format.name for format in context.codec.audio_formats or []]
    decoded = next(iter(last_frames(sound, sound.head, 1)), None)
    wanted = decoded.format.name if decoded else ""
    return wanted if wanted in known else known[-1]


def _bit_rate(sound: CodedSound) -> int:
    if sound.codec in ("ac3", "eac3"):  # the same in each frame, and in the header
        return round(len(sound.head[-1]) * 8 * sound.rate / sound.samples)
    return min(96_000 * sound.channels, 160_000 if sound.codec == "mp3" else 576_000)


def zeros(context: AudioCodecContext, num_samples: int) -> AudioFrame:
    """A frame of silence as an encoder takes it."""
    frame = AudioFrame(context.format.name, context.layout.name, num_samples)
    frame.sample_rate = context.sample_rate
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame


class SoundEncoder:
    """Brings frames of any rate and layout to an open encoder's, and keeps them in time.

    Where frames are missing, silence is put; where they overlap, the later one is cut; packets come out with pts in
    units of `1 / sample_rate` on the clock of the times given. Memory holds one frame.
    """

    def __init__(self, context: AudioCodecContext) -> None:
        self._context = context
        self._rate = context.sample_rate
        self._samples = context.frame_size or 1024
        self._fifo = AudioFifo()
        self._resampler: AudioResampler | None = None
        self._heard: tuple[str, str, int] | None = None
        self._next: int | None = None
        """When the next frame for the encoder begins."""
        self._end = Fraction(0)
        """When what was written ends."""
        self._set_anew = Fraction(0)

    def write(self, frame: AudioFrame, seconds: Fraction | None) -> Iterator[Packet[Any]]:
        """Encodes a frame whose first sample is played at `seconds`; None: right after the last one."""
        if not frame.samples:
            return
        if self._next is None:
            self._end = Fraction(0) if seconds is None else seconds
            self._next = round(self._end * self._rate)
        behind = Fraction(0) if seconds is None else seconds + self._set_anew - self._end
        if not -1 <= behind <= MOST_GAP_SECONDS:
            self._set_anew -= behind
        elif behind > JITTER_SECONDS:
            yield from self._gap(behind)
        elif behind < -JITTER_SECONDS:
            num_over = int(-behind * frame.sample_rate)
            if num_over >= frame.samples:
                return
            frame = _without_start(frame, num_over)
        self._end += Fraction(frame.samples, frame.sample_rate)
        yield from self._encode(self._resampled(frame))

    def finish(self) -> Iterator[Packet[Any]]:
        """What is still inside."""
        yield from self._encode(self._flushed())
        if self._fifo.samples:
            yield from self._encode_one(self._fifo.read(self._fifo.samples))
        yield from self._context.encode(None)

    def _gap(self, seconds: Fraction) -> Iterator[Packet[Any]]:
        """Silence of that length, or, where it is long, as much as the encoder looks ahead, and a later time."""
        yield from self._encode(self._flushed())
        num_samples = round(seconds * self._rate)
        self._end += seconds
        if seconds > MOST_SILENCE_SECONDS:
            margin = 4 * self._samples + -self._fifo.samples % self._samples
            yield from self._silence(margin)
            assert self._next is not None
            self._next += num_samples - margin
        else:
            yield from self._silence(num_samples)

    def _silence(self, num_samples: int) -> Iterator[Packet[Any]]:
        while num_samples > 0:
            num_now = min(num_samples, self._samples)
            yield from self._encode([zeros(self._context, num_now)])
            num_samples -= num_now

    def _resampled(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if self._resampler is None or kind != self._heard:
            yield from self._flushed()
            self._resampler = AudioResampler(self._context.format, self._context.layout, self._rate)
            self._heard = kind
        frame.pts = None
        yield from self._resampler.resample(frame)

    def _flushed(self) -> Iterator[AudioFrame]:
        if self._resampler is not None:
            yield from self._resampler.resample(None)
            self._resampler = None

    def _encode(self, frames: Iterator[AudioFrame] | list[AudioFrame]) -> Iterator[Packet[Any]]:
        for frame in frames:
            frame.pts = None
            self._fifo.write(frame)
            while self._fifo.samples >= self._samples:
                yield from self._encode_one(self._fifo.read(self._samples))

    def _encode_one(self, frame: AudioFrame | None) -> Iterator[Packet[Any]]:
        assert frame is not None
        assert self._next is not None
        frame.pts, frame.time_base = self._next, Fraction(1, self._rate)
        self._next += frame.samples
        yield from self._context.encode(frame)


def can_be_coded_as(sound: CodedSound, other: CodedSound) -> bool:
    """Whether what `encoder_like` makes of another sound can stand among the packets of `sound`, under its header."""
    try:
        context = encoder_like(sound)
        encoder = SoundEncoder(context)
        packets = [packet for frame in other.decode(other.head) for packet in encoder.write(frame, None)]
        packets += encoder.finish()
    except (av.FFmpegError, ValueError):
        return False
    coded = replace(sound, extradata=bytes(context.extradata or b""), head=tuple(map(bytes, packets)))
    return plays_alike(sound, coded)


def _without_start(frame: AudioFrame, num_samples: int) -> AudioFrame:
    samples = frame.to_ndarray()
    step = 1 if frame.format.is_planar else frame.layout.nb_channels
    kept = AudioFrame.from_ndarray(samples[:, num_samples * step :].copy(), frame.format.name, frame.layout.name)
    kept.sample_rate = frame.sample_rate
    return kept

"""Coded sound: what the packets of a stream are, and what they decode to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet

from longtake.errors import MediaError

"""What MP4 carries and players play."""
MOST_CHANNELS: Final = 64
HEAD_PACKETS: Final = 12
_MOST_SAMPLES: Final = 65536


@dataclass(frozen=True, slots=True)
class CodedSound:
    """A stream of coded sound, as its first packets decode."""

    codec: str
    """FFmpeg's name."""
    extradata: bytes
    rate: int
    """Samples per second and channel."""
    layout: str
    channels: int
    samples: int
    """That a packet decodes to, per channel, where it does not tell its own."""
    head: tuple[bytes, ...]
    """The first packets."""

    def num_samples(self, packet: bytes) -> int:
        """How many samples per channel a packet decodes to."""
        if self.codec not in _OWN_LENGTHS:
            return self.samples
        try:
            return min(_OWN_LENGTHS[self.codec](packet) or self.samples, _MOST_SAMPLES)
        except IndexError:
            return self.samples

    def decode(self, packets: Iterable[bytes]) -> Iterator[AudioFrame]:
        """Decodes packets from nothing. Raises FFmpegError where one can't be."""
        context = CodecContext.create(self.codec, "r")
        assert isinstance(context, AudioCodecContext)
        context.extradata = self.extradata or None
        for data in packets:
            yield from context.decode(Packet(data))


def look_at(container: InputContainer, stream: AudioStream) -> CodedSound:
    """Reads and decodes a stream's first packets. Raises MediaError where nothing can be heard of it."""
    head: list[bytes] = []
    frames: list[AudioFrame] = []
    with suppress(av.FFmpegError):  # what can be read up to there counts
        for packet in islice((p for p in container.demux(stream) if p.size), 2 * HEAD_PACKETS):
            head.append(bytes(packet))
            with suppress(av.FFmpegError):
                frames += stream.decode(packet)
            if len(frames) >= HEAD_PACKETS:
                break
    if not head:
        raise MediaError("it has no packets")
    if len(frames) < (len(head) + 1) // 3:
        raise MediaError("it can't be decoded")
    last = frames[-1]
    if not (0 < last.sample_rate <= 768_000 and 0 < last.layout.nb_channels <= MOST_CHANNELS):
        raise MediaError("its header is not one of sound")
    return CodedSound(
        codec=stream.codec_context.codec.canonical_name,
        extradata=bytes(stream.codec_context.extradata or b""),
        rate=last.sample_rate,
        layout=last.layout.name,
        channels=last.layout.nb_channels,
        samples=max(frame.samples for frame in frames),  # less is skipped priming, or the end
        head=tuple(head[:HEAD_PACKETS]),
    )


def opus_samples(packet: bytes) -> int:
    """Samples at 48 kHz of an Opus packet, from its first two bytes (RFC 6716, 3.1 and 3.2)."""
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = 120 << (config & 3)
    return frame * (packet[1] & 63 if code == 3 else (1, 2, 2)[code])


def flac_samples(packet: bytes) -> int:
    """Samples of a FLAC frame, from its header (RFC 9639, 9.1.1); 0 where it has none."""
    code = packet[2] >> 4
    if code == 1:
        return 192
    if code < 6:
        return 576 << code - 2 if code else 0
    if code > 7:
        return 256 << code - 8
    ones = f"{packet[4]:08b}".index("0") if packet[4] < 0xFF else 8  # of the coded number, which comes first
    at = 4 + max(ones, 1)
    return packet[at] + 1 if code == 6 else int.from_bytes(packet[at : at + 2], "big") + 1


def alac_samples(packet: bytes) -> int:
    """Samples of an ALAC frame that says so, as the last one does (ALAC's reference: 3 bits of element, 4 of its
    number, 12 unused, one that a size of 32 bits follows, 2 of shift, one for escape); 0 where it does not."""
    bits = int.from_bytes(packet[:7].ljust(7, b"\0"), "big")
    return bits >> 1 & 0xFFFFFFFF if bits >> 36 & 1 else 0


def plays_alike(sound: CodedSound, other: CodedSound) -> bool:
    """Whether the packets of `other` can follow those of `sound` under its header: they decode to the same samples."""
    if (sound.codec, sound.rate, sound.channels) != (other.codec, other.rate, other.channels):
        return False
    if sound.codec != "opus" and sound.samples != other.samples:
        return False
    if sound.extradata == other.extradata:
        return True
    try:
        own = last_frames(other, other.head, 2)
        there = last_frames(sound, [*sound.head, *other.head], 2)
    except av.FFmpegError:
        return False
    pairs = list(zip(own, there, strict=False))
    return bool(pairs) and all(a.samples == b.samples and _distance(a, b) < 1e-3 for a, b in pairs)


_OWN_LENGTHS: Final = {"opus": opus_samples, "flac": flac_samples, "alac": alac_samples}


def last_frames(sound: CodedSound, packets: Sequence[bytes], num: int) -> list[AudioFrame]:
    return list(sound.decode(packets))[-num:]


def _floats(frame: AudioFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    samples = frame.to_ndarray()
    bits = 8 * samples.itemsize
    return samples.astype(np.float64) / (1.0 if samples.dtype.kind == "f" else 2.0 ** (bits - 1))


def peak(frame: AudioFrame) -> float:
    return float(np.abs(_floats(frame)).max())


def _distance(a: AudioFrame, b: AudioFrame) -> float:
    if a.format.name != b.format.name or a.layout.nb_channels != b.layout.nb_channels:
        return float("inf")
    return float(np.abs(_floats(a) - _floats(b)).max())

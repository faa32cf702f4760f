"""Packets of silence that can stand anywhere in a stream of coded sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Final

import av
from av.audio.frame import AudioFrame

from longtake.media.sound_codec import CodedSound, last_frames, peak
from longtake.media.sound_encode import encoder_like, zeros

SILENT_PEAK: Final = 2.0**-14
FLAC_SILENCE: Final = 576
ALAC_SILENCE: Final = 512
"""Samples: blocks may be shorter than the stream's, so that a gap is filled more exactly."""
FLAC_LEAST: Final = 16
"""Samples of a block that is not the last one (RFC 9639, 9.1.1)."""
OPUS_LEAST: Final = 120
"""Samples at 48 kHz of Opus's shortest frame, 2.5 ms."""
MOST_REST: Final = 4
"""Packets that `rest_of_silence` makes."""


def silence_like(sound: CodedSound) -> bytes | None:
    """A packet of silence that can stand anywhere in a stream; None where none can be made.

    It is encoded by FFmpeg's encoder of the codec, and has been decoded after the stream's own packets, with the
    stream's header: it has the stream's rate and channels, and no sample is louder than `SILENT_PEAK`.
    """
    for data in _candidates(sound):
        with suppress(av.FFmpegError):
            frames = last_frames(sound, [*sound.head, *[data] * 12], 4)
            if len(frames) == 4 and all(_is_silent(frame, sound, data) for frame in frames):
                return data
    return None


def _candidates(sound: CodedSound) -> Iterator[bytes]:
    if sound.codec == "flac":
        yield _flac_silence(sound)
        return
    cores = [(sound.rate, sound.layout)]
    if sound.codec == "aac":  # HE-AAC: what lies under band replication and parametric stereo is LC at half the rate
        cores += [(sound.rate // 2, sound.layout), (sound.rate // 2, "mono")]
    for rate, layout in cores:
        with suppress(av.FFmpegError, ValueError):
            context = encoder_like(sound, rate=rate, layout=layout)
            num_samples = ALAC_SILENCE if sound.codec == "alac" else context.frame_size
            num_frames = 1 if sound.codec == "alac" else 8
            packets = [p for _ in range(num_frames) for p in context.encode(zeros(context, num_samples))]
            packets += context.encode(None)
            yield bytes(packets[len(packets) // 2])  # the first ones may hold the encoder's name


def _is_silent(frame: AudioFrame, sound: CodedSound, data: bytes) -> bool:
    matches = frame.sample_rate == sound.rate and frame.layout.nb_channels == sound.channels
    return matches and frame.samples == silent_samples(sound, data) and peak(frame) <= SILENT_PEAK


def silent_samples(sound: CodedSound, silence: bytes) -> int:
    """How many samples per channel a packet of `silence_like` decodes to."""
    return sound.num_samples(silence)


def rest_of_silence(sound: CodedSound, step: int, num_samples: int) -> tuple[int, list[bytes]]:
    """How silence of `num_samples` is put together: a number of `silence_like`'s packets of `step` samples, and shorter
    ones after them. To the sample in FLAC and ALAC, to 1.25 ms in Opus; other codecs have no shorter ones, and what is
    left is less than a step.
    """
    num, left = divmod(max(num_samples, 0), step)
    if sound.codec == "flac" and 0 < left < FLAC_LEAST:
        if not num:
            return 0, []
        num, left = num - 1, left + step
    if sound.codec in ("flac", "alac"):
        rest = _short(sound, left) if left else None
        return num, [rest] if rest else []
    if sound.codec == "opus" and step % OPUS_LEAST == 0:
        num_short, short = round(left / OPUS_LEAST), _short(sound, OPUS_LEAST)
        return num, [short] * num_short if short else []
    return num, []


@lru_cache(maxsize=64)
def _short(sound: CodedSound, num_samples: int) -> bytes | None:
    """A packet of silence of that length; None where it does not decode to it after the stream's own packets."""
    with suppress(av.FFmpegError, ValueError):
        if sound.codec == "flac":
            data = _flac_silence(sound, num_samples)
        else:
            context = encoder_like(sound, samples=num_samples)
            num_frames = 1 if sound.codec == "alac" else 8
            packets = [p for _ in range(num_frames) for p in context.encode(zeros(context, num_samples))]
            packets += context.encode(None)
            data = bytes(packets[len(packets) // 2])
        frames = last_frames(sound, [*sound.head, *[data] * 12], 4)
        if sound.num_samples(data) == num_samples and all(_is_silent(frame, sound, data) for frame in frames):
            return data
    return None


def _flac_silence(sound: CodedSound, num_samples: int = FLAC_SILENCE) -> bytes:
    """A FLAC frame of constant zeros (RFC 9639, 9): rate and sample size are those of STREAMINFO."""
    streaminfo = sound.extradata[-34:]
    num_bits = (int.from_bytes(streaminfo[12:14], "big") >> 4 & 31) + 1
    header = bytes((0xFF, 0xF8 | sound.head[0][1] & 1, 0x70, sound.channels - 1 << 4, 0))
    header += (num_samples - 1).to_bytes(2, "big")
    header += bytes((_crc(header, 8, 0x07),))
    frame = header + bytes((sound.channels * (8 + num_bits) + 7) // 8)
    return frame + _crc(frame, 16, 0x8005).to_bytes(2, "big")


def _crc(data: bytes, num_bits: int, polynomial: int) -> int:
    register = 0
    for byte in data:
        register ^= byte << num_bits - 8
        for _ in range(8):
            register = register << 1 ^ (polynomial if register >> num_bits - 1 & 1 else 0)
        register &= (1 << num_bits) - 1
    return register

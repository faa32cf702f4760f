"""Coded sound → samples: what is heard of an object, or of a timeline, in a stretch of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext
from av.packet import Packet

from longtake.media.ambience import TAIL_SECONDS, Samples, spectral_jump
from longtake.media.objects import Opener
from longtake.media.sound import HIDDEN_LEAD_PACKETS, Run, open_sound, read_packets, sound_track
from longtake.media.sound_codec import CodedSound, look_at
from longtake.timeline import Timeline

WINDOW_SECONDS: Final = Fraction(1, 2)
"""That spectra are compared over."""


def samples_of(open_object: Opener, key: str, like: CodedSound, first: int, stop: int) -> Samples:
    """The samples `[first, stop)` of an object, from its pts 0 on, silent where it has none.

    float32 (channels, stop - first), counted at the rate of `like`, brought to that and to its channels. Raises
    FaultError.
    """
    with open_sound(open_object, key) as (container, stream):
        own = look_at(container, stream)
        ratio = Fraction(own.rate, like.rate)
        begin, end = int(first * ratio), int(stop * ratio) + 1
        packets = _until(end, read_packets(container, stream, begin - HIDDEN_LEAD_PACKETS * own.samples, key))
        samples = _placed(own, packets, begin, end)
    if (own.rate, own.channels) != (like.rate, like.channels):
        samples = _brought(samples, own, like)
    num = stop - first
    return np.pad(samples[:, :num], ((0, 0), (0, max(0, num - samples.shape[1]))))


def samples_of_runs(
    open_object: Opener, runs: Sequence[Run], like: CodedSound, zero: Fraction, first: int, stop: int
) -> Samples:
    """The samples `[first, stop)` of a timeline's sound, counted at the rate of `like` from the time `zero` on."""
    origin = round(zero * like.rate)
    samples = np.zeros((like.channels, stop - first), np.float32)
    for run in runs:
        begin = max(first, round(run.start * like.rate) - origin)
        end = min(stop, round(run.stop * like.rate) - origin)
        if begin < end:
            shift = origin - round(run.zero * like.rate)
            samples[:, begin - first : end - first] = samples_of(open_object, run.key, like, begin + shift, end + shift)
    return samples


def played(timeline: Timeline, start: int, stop: int, open_object: Opener) -> tuple[Samples, int]:
    """What a player makes of the packets of the frames `[start, stop)`, and its rate: float32 (channels, num_samples).

    Nothing at all where they have no sound. Raises FaultError where an object can't be read.
    """
    touched = timeline.touched(start, stop)
    part = Timeline(timeline.format, tuple(replace(segment, start=a, stop=b) for segment, a, b in touched))
    track = sound_track(part, open_object)
    if track is None:
        return np.zeros((1, 0), np.float32), 48000
    packets = ((packet.pts or 0, bytes(packet)) for packet in track.packets())
    return _placed(track.sound, packets, 0, round(part.seconds * track.sound.rate)), track.sound.rate


@dataclass(frozen=True, slots=True)
class Jump:
    """How far the spectra on both sides of a join are apart, in dB: the mean over third-octave bands."""

    joins: float
    """At the worst of the new part's joins."""
    inside: float
    """At the worst of the places inside the sound beside it."""


def measure_jump(timeline: Timeline, first: int, num_frames: int, open_object: Opener) -> Jump:
    """Of the sound under the frames `[first, first + num_frames)` with that beside it, as it is played."""
    rate = timeline.format.frame_rate
    joins, inside = [0.0], [0.0]
    for at in (first, first + num_frames):
        tail = max(1, round(TAIL_SECONDS * rate)), round(2 * WINDOW_SECONDS * rate) + 1
        reach = tail if at == first else tail[::-1]
        begin, end = max(0, at - reach[0]), min(timeline.num_frames, at + reach[1])
        if not begin < at < end:
            continue
        samples, per_second = played(timeline, begin, end, open_object)
        seam = round((timeline.time_of(at) - timeline.time_of(begin)) * per_second)
        window = min(int(WINDOW_SECONDS * per_second), seam, samples.shape[1] - seam)
        own = samples[:, :seam] if at == first else samples[:, seam:]
        if window < per_second // 20 or not own.any():
            continue
        joins.append(spectral_jump(samples[:, seam - window : seam], samples[:, seam : seam + window], per_second))
        pieces = [own[:, k : k + window] for k in range(0, own.shape[1] - window + 1, window)]
        inside += [spectral_jump(a, b, per_second) for a, b in pairwise(pieces)]
    return Jump(max(joins), max(inside))


def as_floats(frame: AudioFrame) -> Samples:
    """float32 (channels, num_samples), -1 to 1."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind == "u":
        return np.asarray(values / 128.0 - 1, np.float32)
    return np.asarray(values / (1.0 if values.dtype.kind == "f" else 2.0 ** (8 * values.itemsize - 1)), np.float32)


def _until(end: int, packets: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    for pts, data in packets:
        if pts >= end:
            return
        yield pts, data


def _placed(sound: CodedSound, packets: Iterable[tuple[int, bytes]], first: int, stop: int) -> Samples:
    """The samples `[first, stop)` that packets decode to, each at its time; what can't be decoded is silent."""
    samples = np.zeros((sound.channels, stop - first), np.float32)
    for at, frame in _decoded(sound, packets):
        begin, end = max(at, first), min(at + frame.samples, stop)
        if begin < end and frame.layout.nb_channels == sound.channels:
            samples[:, begin - first : end - first] = as_floats(frame)[:, begin - at : end - at]
    return samples


def _decoded(sound: CodedSound, packets: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, AudioFrame]]:
    context = CodecContext.create(sound.codec, "r")
    assert isinstance(context, AudioCodecContext)
    context.extradata = sound.extradata or None
    for pts, data in packets:
        packet: Packet[Any] = Packet(data)
        packet.pts, packet.time_base = pts, Fraction(1, sound.rate)
        with suppress(av.FFmpegError):
            yield from [(pts if frame.pts is None else frame.pts, frame) for frame in context.decode(packet)]


def _brought(samples: Samples, own: CodedSound, like: CodedSound) -> Samples:
    """The samples at the rate and in the channels of another sound."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", own.layout)
    frame.sample_rate = own.rate
    resampler = AudioResampler("fltp", like.layout, like.rate)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([as_floats(made) for made in frames if made.samples], axis=1)

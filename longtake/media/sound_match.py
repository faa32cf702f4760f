"""Sound that is coded otherwise than a video's first → an object in that one's coding: encoded once, then copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from longtake.media.encode import MP4_OPTIONS
from longtake.media.objects import Opener
from longtake.media.output import whole_file
from longtake.media.sound import SoundTrack, open_sound, read_packets, runs_of
from longtake.media.sound_codec import CodedSound
from longtake.media.sound_encode import SoundEncoder, can_be_coded_as, encoder_like
from longtake.media.sound_heard import as_floats
from longtake.timeline import Sound, Timeline

MARGIN_SECONDS: Final = Fraction(1, 2)
"""Beyond what is heard: what decoders need before the first packet, and what laps over the last one."""


@dataclass(frozen=True, slots=True)
class Unlike:
    """An object whose sound can be brought to the coding of a timeline's first one."""

    key: str
    start: Fraction
    stop: Fraction
    """What is heard of it, in seconds after its pts 0."""


def unlike_sounds(timeline: Timeline, track: SoundTrack) -> tuple[Unlike, ...]:
    """The objects whose packets can't stand in the timeline's sound, but whose samples can be encoded so."""
    found = []
    for key in track.left_out:
        if can_be_coded_as(track.sound, track.sounds[key]):
            heard = [(run.start - run.zero, run.stop - run.zero) for run in runs_of(timeline) if run.key == key]
            found.append(Unlike(key, min(start for start, _ in heard), max(stop for _, stop in heard)))
    return tuple(found)


def code_alike(
    track: SoundTrack, unlike: Unlike, open_object: Opener, path: Path, alive: Callable[[], None] = lambda: None
) -> Fraction | None:
    """Encodes what is heard of an object as `track.sound` is coded, to an MP4 at `path` under the same header.

    Returns when its first sample is played, in seconds after pts 0 of the object; None, and no file, where nothing of
    it can be decoded. `alive` is called for each packet; what it raises ends the work. Memory holds one packet. Raises
    FaultError where an object can't be read.
    """
    start, stop = unlike.start - MARGIN_SECONDS, unlike.stop + MARGIN_SECONDS
    own, rate = track.sounds[unlike.key], track.sound.rate
    with open_sound(open_object, unlike.key) as (container, stream):
        packets = read_packets(container, stream, int(start * own.rate), unlike.key)
        heard = _decoded(own, stream, packets, stop)
        encoded = _encoded(track.sound, ((_as_loud(frame, track.sound), time) for frame, time in heard))
        head = next(encoded, None)
        if head is None:
            return None
        assert head.pts is not None
        first = head.pts
        with whole_file(path) as part, av.open(str(part), "w", format="mp4", options=MP4_OPTIONS) as output:
            assert isinstance(output, OutputContainer)
            coded = track.add_to(output)
            for packet in chain([head], encoded):
                alive()
                assert packet.pts is not None
                packet.duration = track.sound.num_samples(bytes(packet))
                packet.pts = packet.dts = packet.pts - first
                packet.time_base = track.time_base
                packet.stream = coded
                output.mux_one(packet)
    return Fraction(first, rate)


def with_sounds(timeline: Timeline, made: Mapping[str, Sound]) -> Timeline:
    """The timeline with other sound objects: for a key the new one, its start in seconds after the old one's pts 0."""

    def of(sound: Sound | None) -> Sound | None:
        new = made.get(sound.key) if sound else None
        return Sound(new.key, sound.start + new.start) if sound and new else sound

    return replace(timeline, segments=tuple(replace(part, sound=of(part.sound)) for part in timeline.segments))


def _encoded(sound: CodedSound, frames: Iterator[tuple[AudioFrame, Fraction]]) -> Iterator[Packet[Any]]:
    encoder = SoundEncoder(encoder_like(sound))
    for frame, seconds in frames:
        yield from encoder.write(frame, seconds)
    yield from encoder.finish()


def _as_loud(frame: AudioFrame, sound: CodedSound) -> AudioFrame:
    """A frame of one channel for both of two, or the mean of two, as players do; FFmpeg keeps the sum of powers."""
    if {frame.layout.nb_channels, sound.channels} != {1, 2}:
        return frame
    samples = as_floats(frame).mean(axis=0, keepdims=True)
    made = AudioFrame.from_ndarray(np.repeat(samples, sound.channels, axis=0), "fltp", sound.layout)
    made.sample_rate = frame.sample_rate
    return made


def _decoded(
    own: CodedSound, stream: AudioStream, packets: Iterator[tuple[int, bytes]], stop: Fraction
) -> Iterator[tuple[AudioFrame, Fraction]]:
    """Frames with their times; packets that can't be decoded are passed over."""
    for pts, data in packets:
        if pts >= stop * own.rate:
            return
        packet: Packet[Any] = Packet(data)
        packet.pts, packet.time_base = pts, Fraction(1, own.rate)
        with suppress(av.FFmpegError):
            for frame in stream.decode(packet):
                begin = pts if frame.pts is None else frame.pts
                yield frame, Fraction(begin, own.rate)

"""Timeline → fragmented MP4 for HLS (RFC 8216): one header, and stretches that a player fetches one by one.

Nothing is stored: a stretch is made when it is asked for, from the same objects and the same packets as the MP4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from math import ceil
from typing import Final

import av
from av.container import OutputContainer

from longtake.media.encode import GOP_SECONDS, parameter_sets
from longtake.media.objects import Opener, open_segment
from longtake.media.packets import Clock, Headers, ParameterSets, packets_of
from longtake.media.sound import SoundTrack, sound_track
from longtake.timeline import Segment, Timeline

OPTIONS: Final = {
    "movflags": "+frag_custom+empty_moov+default_base_moof+skip_trailer",
    "use_editlist": "0",
    "fflags": "+bitexact",
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames `[start, stop)` of a timeline, which can be decoded without those before."""

    start: int
    stop: int
    seconds: Fraction


def stretches(timeline: Timeline) -> Iterator[Stretch]:
    """The timeline in stretches of two seconds or a little more, none across a join.

    A segment that grows while it is rendered is cut at the same places as when it is done. What comes ahead of the
    first key frame of the timeline is left out: an edit list hides what it needs, and HLS has none.
    """
    at = 0
    for segment in timeline.segments:
        entries = [key for key in segment.key_frames if segment.start <= key < segment.stop]
        starts = [entry - segment.start for entry in _spaced(segment, entries, timeline)]
        for start, stop in pairwise((*starts, segment.num_frames)):
            seconds = segment.seconds(stop, timeline.format.frame_rate) - segment.seconds(
                start, timeline.format.frame_rate
            )
            yield Stretch(at + start, at + stop, seconds)
        at += segment.num_frames


def _spaced(segment: Segment, entries: list[int], timeline: Timeline) -> Iterator[int]:
    rate = timeline.format.frame_rate
    last: Fraction | None = None
    for entry in entries:
        begins = segment.seconds(entry - segment.start, rate)
        if last is None or begins - last >= GOP_SECONDS - 1 / rate:
            last = begins
            yield entry


class Fragments:
    """The bytes of a timeline's stretches, and of the header that goes with all of them."""

    def __init__(
        self,
        timeline: Timeline,
        open_object: Opener,
        *,
        ours: bool = False,
        known: ParameterSets | None = None,
    ) -> None:
        """`ours`: segments that we encode will come to stand in the timeline, so its header has to suit them too.
        `known`: the parameter sets of the store's objects that were looked at before."""
        self._timeline = timeline
        self._open_object = open_object
        self._clock = Clock(timeline)
        self._headers = Headers(timeline, open_object, (parameter_sets(timeline.format),) if ours else (), known)
        self._sound = sound_track(timeline, open_object)

    def header(self) -> bytes:
        """The media initialization section."""
        memory = BytesIO()
        with self._output(memory) as container:
            container.start_encoding()
        boxes = memory.getvalue()
        return boxes[: _first(boxes, b"moof")]

    def fragment(self, start: int, stop: int) -> bytes:
        """The packets of the frames `[start, stop)` of the timeline, which must be one of its stretches."""
        touched = self._timeline.touched(start, stop)
        part = Timeline(self._timeline.format, tuple(replace(segment, start=a, stop=b) for segment, a, b in touched))
        memory, begins = BytesIO(), {}
        with self._output(memory) as container:
            output = container.streams.video[0]
            for packet in packets_of(part, self._open_object, self._clock, self._headers, self._clock.delay):
                packet.stream = output
                container.mux_one(packet)
            begins[output.index + 1] = self._timeline.time_of(start) / Fraction(output.time_base or 1)
            if self._sound:
                heard = container.streams.audio[0]
                begins[heard.index + 1] = self._mux_sound(self._sound, container, start, stop)
        boxes = memory.getvalue()
        return _dated(boxes[_first(boxes, b"moof") :], {track: int(time) for track, time in begins.items()})

    def _mux_sound(self, sound: SoundTrack, container: OutputContainer, start: int, stop: int) -> Fraction:
        """The packets that begin with the frames `[start, stop)`; returns when the first of them does, in samples."""
        begin, end = (self._timeline.time_of(frame) / sound.time_base for frame in (start, stop))
        first: int | None = None
        for packet in sound.packets(since=ceil(begin)):
            assert packet.pts is not None
            if packet.pts >= end:
                break
            first = packet.pts if first is None else first
            packet.stream = container.streams.audio[0]
            packet.pts -= first
            packet.dts = packet.pts
            container.mux_one(packet)
        return (first or 0) + self._clock.delay * self._clock.time_base / sound.time_base

    @contextmanager
    def _output(self, memory: BytesIO) -> Iterator[OutputContainer]:
        with av.open(memory, "w", format="mp4", options=OPTIONS) as container:
            assert isinstance(container, OutputContainer)
            with open_segment(self._open_object, self._timeline.segments[0], self._timeline.format) as source:
                output = container.add_stream_from_template(source.stream)
            output.time_base = self._clock.time_base
            self._headers.write(output)
            if self._sound:
                self._sound.add_to(container)
            yield container


def _dated(fragment: bytes, times: Mapping[int, int]) -> bytes:
    """The fragment with these decode times of each track's first packet: FFmpeg's muxer counts from 0 each time."""
    dated = bytearray(fragment)
    end = int.from_bytes(fragment[:4], "big")
    at = fragment.find(b"tfhd", 0, end)
    while at >= 0:
        time = times[int.from_bytes(fragment[at + 8 : at + 12], "big")]
        at = fragment.index(b"tfdt", at, end)
        num_bytes = 8 if fragment[at + 4] else 4
        dated[at + 8 : at + 8 + num_bytes] = time.to_bytes(num_bytes, "big")
        at = fragment.find(b"tfhd", at, end)
    return bytes(dated)


def _first(boxes: bytes, kind: bytes) -> int:
    """Where the first box of a kind begins (ISO/IEC 14496-12, 4.2); the end where there is none."""
    at = 0
    while at + 8 <= len(boxes) and boxes[at + 4 : at + 8] != kind:
        at += max(8, int.from_bytes(boxes[at : at + 4], "big"))
    return min(at, len(boxes))

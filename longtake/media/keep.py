"""A user's video → an object of its own packets: nothing is decoded or encoded, only time stamps are made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import Final, Literal

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longtake.errors import FaultError, LongtakeError
from longtake.media.decode import read
from longtake.media.encode import MP4_OPTIONS
from longtake.media.nal import (
    annex_b_to_lengths,
    in_band,
    is_closed_entry,
    is_length_prefixed,
    nal_length_size,
    parameter_sets_in,
    sequence_sets,
    with_four_byte_lengths,
)
from longtake.media.output import whole_file, with_data
from longtake.media.packets import MOST_TIMESCALE, is_open_entry
from longtake.media.probe import own_format
from longtake.media.rates import FINEST, Rate, fits
from longtake.media.survey import Survey, open_video
from longtake.timeline import Segment, Stamps, Timeline
from longtake.video import VideoFormat

FINE_TIME_BASE: Final = Fraction(1, FINEST)
NAL_CODECS: Final = ("h264", "hevc")
LENGTH_SIZE_AT: Final = {"h264": 4, "hevc": 21}
"""Which byte of avcC and hvcC holds the size of the lengths, less one, in its last two bits."""
MOST_CHECKED: Final = 48
"""Frames that are decoded at the end to see that all is as it seems."""

_Entry = Literal["closed", "open", "none"]


class NotKept(LongtakeError):
    """It can't be kept, as a closer look at its packets says; it can be brought to house format."""


def keep(
    source: Path, found: Survey, path: Path, progress: Callable[[float], None] = lambda part: None
) -> tuple[Segment, VideoFormat]:
    """Copies the video's packets to an object at `path`; returns the segment that is all that is shown of it.

    The owner and the key of the segment are for the caller to fill in. Frames that an edit list hides ahead of the
    first one shown are kept too, outside the segment's range. Raises NotKept; nothing is left at `path` then.
    `progress` is told how much is done, 0 to 1, now and then; what it raises ends the work.
    """
    format = own_format(found)
    pts = sorted(found.coded_pts)
    order = _order(found.coded_pts, pts)
    stamps = _stamps(pts, found)
    reorder = max(place - number for place, number in enumerate(order))
    with whole_file(path) as part:
        stamping = _Stamping(format.frame_rate, stamps, order, reorder)
        key_frames, open_entries, changes = _copy(source, found, part, stamping, progress)
        if not key_frames or key_frames[0]:
            raise NotKept("it does not begin with a key frame that decoding can start at")
        start = len(pts) - len(found.pts)
        stops = tuple(_stops(order)) if reorder else ()
        segment = Segment("", "", start, len(pts), key_frames, stamps, reorder, stops)
        segment = replace(segment, open_entries=open_entries, broken=found.broken)
        _check(segment, format, part, changes, partial(progress, 1.0))
    return segment, format


def _order(coded_pts: Sequence[int], pts: Sequence[int]) -> list[int]:
    """The number in order of time of each packet in the order they are coded in."""
    numbers = {stamp: number for number, stamp in enumerate(pts)}
    return [numbers[stamp] for stamp in coded_pts]


def _stops(order: Sequence[int]) -> Iterator[int]:
    """Where all packets so far are of frames so far: what follows them can be left out."""
    last = -1
    for place, number in enumerate(order):
        last = max(last, number)
        if last == place:
            yield place + 1


def _stamps(pts: Sequence[int], found: Survey) -> Stamps | None:
    """Of frames that are not equally long. Rounded ones of a constant rate become exact instead."""
    rate, time_base = found.rate, found.time_base
    if rate.constant and fits(pts, time_base, rate.frame_rate):
        return None
    last = _usual(pts, rate, time_base)
    if time_base.numerator != 1 or lcm(time_base.denominator, rate.frame_rate.numerator) > MOST_TIMESCALE:
        finer = time_base / FINE_TIME_BASE
        pts, last, time_base = [round(stamp * finer) for stamp in pts], round(last * finer), FINE_TIME_BASE
        if any(later <= earlier for earlier, later in pairwise(pts)):
            raise NotKept("its frames follow one another faster than an MP4 can say")
    return Stamps(time_base, tuple(stamp - pts[0] for stamp in (*pts, pts[-1] + last)))


def _usual(pts: Sequence[int], rate: Rate, time_base: Fraction) -> int:
    """How long the last frame is shown, which no time stamp says: as long as one before, or as the rate says."""
    expected = max(1, round(1 / (rate.frame_rate * time_base)))
    gaps = (later - earlier for earlier, later in pairwise(pts))
    return min(gaps, key=lambda gap: abs(gap - expected), default=expected)


@dataclass(frozen=True, slots=True)
class _Stamping:
    """The new time stamps of the packets."""

    frame_rate: Fraction
    stamps: Stamps | None
    order: Sequence[int]
    reorder: int

    @property
    def time_base(self) -> Fraction:
        return self.stamps.time_base if self.stamps else 1 / self.frame_rate

    def stamp(self, packet: Packet[VideoStream], place: int) -> None:
        number = self.order[place]
        packet.time_base = self.time_base
        packet.pts, packet.dts = self._time(number), self._time(place) - self._delay
        packet.duration = self._time(number + 1) - self._time(number)

    def _time(self, number: int) -> int:
        return self.stamps.pts[number] if self.stamps else number

    @property
    def _delay(self) -> int:
        if not self.stamps or not self.reorder:
            return self.reorder
        pts = self.stamps.pts
        return max(pts[min(k + self.reorder, len(pts) - 1)] - pts[k] for k in range(len(pts) - 1))


def _copy(
    source: Path, found: Survey, part: Path, stamping: _Stamping, progress: Callable[[float], None]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Copies the packets; returns the numbers of the frames that decoding can start at, of those that it can start at
    without what is shown ahead of them, and of those that may be of another size than before, or coded otherwise."""
    options = MP4_OPTIONS | {"movflags": "+faststart"}
    if stamping.reorder:
        options |= {"use_editlist": "1", "movie_timescale": str(stamping.time_base.denominator)}
    entries: dict[_Entry, list[int]] = {"closed": [], "open": [], "none": []}
    changes: list[int] = []
    with open_video(source) as (container, stream), av.open(str(part), "w", format="mp4", options=options) as output:
        assert isinstance(output, OutputContainer)
        _check_container(container, found)
        copy = output.add_stream_from_template(stream)
        copy.time_base = stamping.time_base
        framing = _Framing(found)
        framing.set_header(copy)
        place = 0
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if place == len(stamping.order) or packet.pts is None:
                raise NotKept("its packets are not the same when they are read twice")
            progress(place / len(stamping.order))
            units = framing.units_of(packet)
            if packet.is_keyframe:
                framing.check_sets(packet, units)
                entries[framing.entry_of(units)].append(stamping.order[place])
            if framing.changes_with(units):
                changes.append(stamping.order[place])
            kept = framing.put(packet)
            stamping.stamp(kept, place)
            kept.stream = copy
            output.mux_one(kept)
            place += 1
            if found.broken and place == len(stamping.order):
                break
    return tuple(entries["closed"]), tuple(entries["open"]), tuple(changes)


def _check_container(container: InputContainer, found: Survey) -> None:
    if found.reordered and container.format.name == "avi":
        raise NotKept("it has B-frames, and AVI does not say when they are shown")


class _Framing:
    """How a codec's packets are put into an MP4: NAL units with lengths of four bytes, all else as it is."""

    def __init__(self, found: Survey) -> None:
        self._codec = found.codec
        self._record = found.parameter_sets
        self._has_units = found.codec in NAL_CODECS
        # Annex B (from a transport stream, or a raw one) is turned into lengths of four bytes by FFmpeg's muxer.
        self._is_annex_b = self._has_units and not is_length_prefixed(self._record)
        self._length = nal_length_size(self._record) if self._has_units and not self._is_annex_b else 4
        self._sets: tuple[bytes, ...] | None = None
        known = self._has_units and not self._is_annex_b
        self._header = parameter_sets_in(in_band(self._record, self._codec), self._codec) if known else None
        self._has_others = False

    def set_header(self, output: VideoStream) -> None:
        if self._length != 4:
            record = bytearray(self._record)
            record[LENGTH_SIZE_AT[self._codec]] |= 3
            output.codec_context.extradata = bytes(record)

    def units_of(self, packet: Packet[VideoStream]) -> bytes:
        """A key frame's NAL units, with lengths of four bytes; nothing of another packet, nor of another codec's."""
        if not self._has_units or not packet.is_keyframe:
            return b""
        data = bytes(packet)
        return annex_b_to_lengths(data) if self._is_annex_b else with_four_byte_lengths(data, self._length)

    def entry_of(self, units: bytes) -> _Entry:
        """Whether decoding can start at this key frame: with all that is coded behind it, or without what is shown
        ahead of it, or not."""
        if not self._has_units or is_closed_entry(units, self._codec):
            return "closed"
        return "open" if self._codec == "hevc" and is_open_entry(units) else "none"

    def check_sets(self, packet: Packet[VideoStream], units: bytes) -> None:
        """Raises NotKept where a key frame needs parameter sets that neither it nor the header has: after a join, or a
        cut, nobody would have told them."""
        if packet.has_sidedata("new_extradata"):
            raise NotKept("its header changes on the way")
        if not self._has_units:
            return
        found = parameter_sets_in(units, self._codec)
        if self._header is None:  # Annex B: the first key frame's become the header's
            self._header = found
        self._has_others |= not found <= self._header
        if self._has_others and not found and self.entry_of(units) != "none":
            raise NotKept("its parameter sets change, and are not repeated at each key frame")

    def changes_with(self, units: bytes) -> bool:
        """Whether the parameter sets in band are others than the last ones there."""
        found = sequence_sets(units, self._codec) if units else ()
        if not found:
            return False
        before, self._sets = self._sets, found
        return before != found

    def put(self, packet: Packet[VideoStream]) -> Packet[VideoStream]:
        if self._length == 4:
            return packet
        return with_data(packet, with_four_byte_lengths(bytes(packet), self._length))


def _check(
    segment: Segment, format: VideoFormat, path: Path, changes: Sequence[int], alive: Callable[[], None]
) -> None:
    """Decodes its ends, as an engine will, and where its parameter sets change: the reader must find the frames that
    the packets promised. `alive` is called for each few of them."""
    timeline, num = Timeline(format, (segment,)), segment.num_frames
    last_group = max(0, segment.entry(segment.stop - 1) - segment.start)
    changed = [number - segment.start for number in changes if segment.start < number < segment.stop]
    try:
        for start, stop in ((0, 1), *((at, at + 1) for at in changed), (max(last_group, num - MOST_CHECKED), num)):
            for _ in read(timeline, start, stop, lambda _: str(path)):
                alive()
    except FaultError as error:
        raise NotKept(f"its frames are not found where its packets are: {error}") from error

"""The packets of a timeline with their time stamps in it, and the parameter sets that they need.

A frame is shown when the timeline says; packets are decoded in the order they are coded in, at the times of the frames
in order, less one delay for the whole timeline that lets no frame be shown before it is decoded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from heapq import merge
from itertools import groupby
from math import floor, lcm
from operator import attrgetter
from threading import Lock
from typing import Any, Final

import av
from av.packet import Packet
from av.video.stream import VideoStream

from longtake.errors import FaultError
from longtake.media.nal import in_band, merged_avcc, with_parameter_sets
from longtake.media.objects import Opener, OpenObject, open_segment
from longtake.media.output import with_data
from longtake.media.rates import FINEST
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat

MOST_TIMESCALE: Final = 2**31 - 1
"""Units a second that an MP4 can count in."""
TURN_SECONDS: Final = Fraction(1, 2)
"""Of one stream's packets together, where there are several."""

LIVE: Final = "live/"
"""How the keys begin of groups that are published while their video is rendered: all by one encoder."""
MOST_KNOWN: Final = 1000
"""Objects whose parameter sets are kept, a hundred bytes or so each."""

CRA: Final = 21
BLA_N_LP: Final = 18
"""Types of NAL units (ITU-T H.265, table 7-1)."""


class Clock:
    """The output's time stamps, in units that every frame of it begins on."""

    def __init__(self, timeline: Timeline) -> None:
        rate = timeline.format.frame_rate
        stamps = {segment.stamps.time_base.denominator for segment in timeline.segments if segment.stamps}
        common = lcm(rate.numerator, *stamps)
        self.time_base = Fraction(1, common if common <= MOST_TIMESCALE else FINEST) if stamps else 1 / rate
        self._frame = 1 / rate / self.time_base
        self.delay = max(self._delay(segment) for segment in timeline.segments)

    def ticks(self, segment: Segment, start: int, stop: int) -> int:
        """How long the frames `[start, stop)` of a segment's object last."""
        if segment.stamps is None:
            return round((stop - start) * self._frame)
        pts = segment.stamps.pts
        return round((pts[stop] - pts[start]) * segment.stamps.time_base / self.time_base)

    def _delay(self, segment: Segment) -> int:
        """The longest that a packet of it must be decoded ahead of its frame's time."""
        if segment.stamps is None or not segment.reorder:
            return round(segment.reorder * self._frame)
        last = len(segment.stamps.pts) - 1
        return max(self.ticks(segment, k, min(k + segment.reorder, last)) for k in range(last))


class ParameterSets:
    """The parameter sets of a store's objects, as they were found: objects never change, so each is opened once.

    For any number of threads at a time.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, bytes] = OrderedDict()
        """By key; the latest used last."""

    def of(self, segment: Segment, format: VideoFormat, open_object: Opener) -> bytes:
        """Those of the segment's object. Raises as `open_segment` where it has to be opened."""
        with self._lock:
            if segment.key in self._known:
                self._known.move_to_end(segment.key)
                return self._known[segment.key]
        with open_segment(open_object, segment, format) as source:
            found = source.parameter_sets
        with self._lock:
            self._known[segment.key] = found
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return found


class Headers:
    """The parameter sets of all objects: in the file's header, or ahead of each key frame where one can't hold them."""

    def __init__(
        self,
        timeline: Timeline,
        open_object: Opener,
        others: Iterable[bytes] = (),
        known: ParameterSets | None = None,
    ) -> None:
        """`others` are the records of segments that will come to stand in the timeline; `known` those that were looked
        at before, of the same store."""
        self._codec = timeline.format.coding.codec
        self._record: bytes | None = None
        self._in_band: dict[str, bytes] = {}
        different = {segment.key: segment for segment in timeline.segments}
        if self._codec != "vp9" and (len(different) > 1 or others):  # whose packets need nothing
            known, live = known or ParameterSets(), next((key for key in different if key.startswith(LIVE)), "")
            looked_at = {key: segment for key, segment in different.items() if key == live or not key.startswith(LIVE)}
            records = {key: known.of(one, timeline.format, open_object) for key, one in looked_at.items()}
            self._decide({key: records[key if key in records else live] for key in different}, others)

    def _decide(self, records: dict[str, bytes], others: Iterable[bytes]) -> None:
        different = list(dict.fromkeys((*records.values(), *others)))
        if len(different) == 1:
            return
        if self._codec == "h264":
            with suppress(ValueError):  # they clash, or one has its sets in band already
                self._record = merged_avcc(different)
                return
        is_mpeg4 = self._codec == "mpeg4"  # whose header goes in front as it is
        self._in_band = {key: record if is_mpeg4 else in_band(record, self._codec) for key, record in records.items()}

    def write(self, output: VideoStream) -> None:
        if self._record:
            output.codec_context.extradata = self._record
        if self._in_band and self._codec == "hevc":
            output.codec_context.codec_tag = "hev1"  # which allows them there

    def put(self, packet: Packet[VideoStream], key: str) -> Packet[VideoStream]:
        """The packet, with its object's parameter sets where they have to be in it."""
        sets = self._in_band.get(key)
        if not sets or not packet.is_keyframe:
            return packet
        data = bytes(packet)
        data = sets + data if self._codec == "mpeg4" else with_parameter_sets(data, sets, self._codec)
        return with_data(packet, data)


def packets_of(
    timeline: Timeline, open_object: Opener, clock: Clock, headers: Headers, at: int = 0
) -> Iterator[Packet[VideoStream]]:
    """All packets in the order they are coded in, with their new time stamps; the first frame is shown at `at`."""
    for key, run in groupby(timeline.segments, attrgetter("key")):  # neighbours share one opening
        segments = list(run)
        with open_segment(open_object, segments[0], timeline.format) as source:
            for segment in segments:
                entry = segment.entry(segment.start)  # ahead of the start only in the first segment
                for place, (number, found) in enumerate(_those_of(source, entry, segment.stop), entry):
                    is_joined = place == entry and timeline.format.coding.codec == "hevc"
                    packet = headers.put(_as_join(found) if is_joined else found, key)
                    packet.time_base = clock.time_base
                    packet.pts = at + clock.ticks(segment, segment.start, number)
                    packet.dts = at + clock.ticks(segment, segment.start, place) - clock.delay
                    packet.duration = clock.ticks(segment, number, number + 1)
                    yield packet
                at += clock.ticks(segment, segment.start, segment.stop)


def is_open_entry(data: bytes) -> bool:
    """Whether a packet of HEVC (4-byte lengths) is a CRA picture: what is shown after it needs nothing before it."""
    return any(data[at] >> 1 & 63 == CRA for at in _units(data))


def _as_join(packet: Packet[VideoStream]) -> Packet[VideoStream]:
    """A CRA picture as a BLA picture without leading ones, which is what it is where something else was put before it
    and those were left out (ITU-T H.265, 7.4.2.2). The two differ in the type of their NAL units alone."""
    data = bytearray(bytes(packet))
    places = [at for at in _units(data) if data[at] >> 1 & 63 == CRA]
    for at in places:
        data[at] = data[at] & 0x81 | BLA_N_LP << 1
    return with_data(packet, bytes(data)) if places else packet


def _units(data: bytes | bytearray) -> Iterator[int]:
    """Where NAL units with 4-byte lengths begin."""
    at = 4
    while at < len(data):
        yield at
        at += int.from_bytes(data[at - 4 : at], "big") + 4


def _those_of(source: OpenObject, entry: int, stop: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
    """The packets of the object's frames `[entry, stop)`, each once. Raises FaultError where one is missing."""
    source.enter_at(entry)
    seen = bytearray(stop - entry)
    num = 0
    try:
        for number, packet in source.packets():
            if number < entry:  # shown ahead of the key frame it follows: it needs the group before
                continue
            if number >= stop or seen[number - entry] or packet.is_corrupt or not (num or packet.is_keyframe):
                raise FaultError(f"object {source.key} is broken at frame {number}")
            seen[number - entry] = 1
            num += 1
            yield number, packet
            if num == len(seen):
                return
    except av.InvalidDataError as error:
        raise FaultError(f"object {source.key} can't be read at frame {entry + num}: {error}") from error
    raise FaultError(f"object {source.key} ends at frame {entry + num}, the timeline wants frames up to {stop}")


def in_turns(*streams: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
    """The packets of streams that are each in order of decoding, a stretch of time of each in turn.

    So a player finds what belongs together close together, and the index has few chunks.
    """

    def turn(packet: Packet[Any]) -> int:
        assert packet.dts is not None
        return floor(packet.dts * packet.time_base / TURN_SECONDS)

    return merge(*streams, key=turn)

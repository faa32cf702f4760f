"""Timeline → MP4, by copying packets: nothing is decoded or encoded, so the old frames stay bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import lcm
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from longtake.media.encode import MP4_OPTIONS
from longtake.media.objects import Opener, open_segment
from longtake.media.output import whole_file
from longtake.media.packets import MOST_TIMESCALE, TURN_SECONDS, Clock, Headers, in_turns, packets_of
from longtake.media.sound import SoundTrack
from longtake.timeline import Timeline

HEADER_BYTES = 4096
CHUNK_BYTES = 2**20
"""FFmpeg's muxer counts neighbouring frames as one chunk up to this size."""


def splice(
    timeline: Timeline,
    open_object: Opener,
    path: Path,
    sound: SoundTrack | None = None,
    look: Callable[[], object] = lambda: None,
) -> int:
    """Writes the timeline, with its sound, to an MP4 at `path` whose index comes first; returns its size in bytes.

    Memory holds one packet and the index. No half file is left on any exception. `look` is called for each packet, and
    ends the writing by raising. Raises FaultError where an object is not what the timeline says.
    """
    with whole_file(path) as part:
        try:
            _copy(timeline, open_object, part, sound, look, {"moov_size": str(index_bytes(timeline, sound))})
        except av.error.ArgumentError:  # the room kept for the index was too small: move the packets back instead
            _copy(timeline, open_object, part, sound, look, {"movflags": "+faststart"})
        return part.stat().st_size


def index_bytes(timeline: Timeline, sound: SoundTrack | None = None) -> int:
    """Room to keep for the index (moov) in front of the packets, so that they are written once, where they stay.

    A size (4 bytes) for each frame, a number (4) for each key frame, an offset and a run (20) for each chunk, a length
    (8) for each frame that has one of its own, a delay (8) for each that is reordered; chunks are reckoned for frames
    of an eighth of their raw size, several times what the encoder makes of real footage. A size and a length for each
    packet of sound; beside sound both tracks have a chunk for each turn, and one more where turns are long.
    """
    frame_bytes = timeline.format.width * timeline.format.height * 3 / 2 / 8
    chunks = len(timeline.segments) + timeline.num_frames * min(1.0, 2 * frame_bytes / CHUNK_BYTES)
    keys = sum(len(segment.key_frames) for segment in timeline.segments)
    a_frame = 4 + 8 * any(segment.stamps for segment in timeline.segments)
    a_frame += 8 * any(segment.reorder for segment in timeline.segments)
    num_bytes = HEADER_BYTES + a_frame * timeline.num_frames + 4 * keys + 20 * int(chunks + 1)
    if sound:
        num_bytes += 12 * sound.num_packets + 40 * int(timeline.seconds / TURN_SECONDS + 2) + HEADER_BYTES
    return num_bytes


def _copy(
    timeline: Timeline,
    open_object: Opener,
    part: Path,
    sound: SoundTrack | None,
    look: Callable[[], object],
    options: dict[str, str],
) -> None:
    clock = Clock(timeline)
    first = timeline.segments[0]
    if sound or clock.delay or not first.is_entered:  # an edit list says where to begin, to the tick
        timescale = lcm(clock.time_base.denominator, sound.sound.rate if sound else 1)
        timescale = timescale if timescale <= MOST_TIMESCALE else clock.time_base.denominator
        options = options | {"use_editlist": "1", "movie_timescale": str(timescale)}
    headers = Headers(timeline, open_object)
    with av.open(str(part), "w", format="mp4", options=MP4_OPTIONS | options) as container:
        assert isinstance(container, OutputContainer)
        with open_segment(open_object, first, timeline.format) as source:
            output = container.add_stream_from_template(source.stream)
        output.time_base = clock.time_base
        headers.write(output)
        heard = sound.add_to(container) if sound else None
        for packet in in_turns(
            _on(output, packets_of(timeline, open_object, clock, headers)),
            _on(heard, sound.packets()) if sound and heard else (),
        ):
            look()
            container.mux_one(packet)


def _on(stream: Stream, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    for packet in packets:
        packet.stream = stream
        yield packet

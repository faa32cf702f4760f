"""Timeline → MP4, by copying packets: nothing is decoded or encoded, so the old frames stay bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longtake.errors import FaultError
from longtake.media.encode import MP4_OPTIONS
from longtake.media.objects import Opener, OpenObject, open_house_object
from longtake.media.output import whole_file
from longtake.timeline import Segment, Timeline

HEADER_BYTES = 4096
CHUNK_BYTES = 2**20
"""FFmpeg's muxer counts neighbouring frames as one chunk up to this size."""


def splice(timeline: Timeline, open_object: Opener, path: Path) -> int:
    """Writes the timeline to an MP4 at `path` whose index comes first; returns its size in bytes.

    Memory holds one packet and the index. No half file is left on any exception. Raises FaultError where an object
    is not what the timeline says, or where two objects' parameter sets differ.
    """
    with whole_file(path) as part:
        try:
            _copy(timeline, open_object, part, {"moov_size": str(index_bytes(timeline))})
        except av.error.ArgumentError:  # the room kept for the index was too small: move the packets back instead
            _copy(timeline, open_object, part, {"movflags": "+faststart"})
        return part.stat().st_size


def index_bytes(timeline: Timeline) -> int:
    """Room to keep for the index (moov) in front of the packets, so that they are written once, where they stay.

    A size (4 bytes) for each frame, a number (4) for each key frame, an offset and a run (20) for each chunk; chunks
    are reckoned for frames of an eighth of their raw size, several times what the encoder makes of real footage.
    """
    frame_bytes = timeline.format.width * timeline.format.height * 3 / 2 / 8
    chunks = len(timeline.segments) + timeline.num_frames * min(1.0, 2 * frame_bytes / CHUNK_BYTES)
    keys = sum(len(segment.key_frames) for segment in timeline.segments)
    return HEADER_BYTES + 4 * (timeline.num_frames + keys) + 20 * int(chunks + 1)


def _copy(timeline: Timeline, open_object: Opener, part: Path, options: dict[str, str]) -> None:
    at = 0
    output: VideoStream | None = None
    parameter_sets = b""
    frame_seconds = 1 / timeline.format.frame_rate
    with av.open(str(part), "w", format="mp4", options=MP4_OPTIONS | options) as container:
        assert isinstance(container, OutputContainer)
        for key, run in groupby(timeline.segments, attrgetter("key")):  # neighbours share one opening
            with open_house_object(open_object, key, timeline.format) as source:
                if output is None:
                    output = container.add_stream_from_template(source.stream)
                    parameter_sets = source.parameter_sets
                _check_parameter_sets(source, parameter_sets)
                for segment in run:
                    for packet in _packets(source, segment):
                        packet.stream = output
                        packet.time_base = frame_seconds
                        packet.pts = packet.dts = at
                        packet.duration = 1
                        container.mux_one(packet)
                        at += 1


def _packets(source: OpenObject, segment: Segment) -> Iterator[Packet[VideoStream]]:
    source.enter_at(segment.start)
    wanted = segment.start
    try:
        for number, packet in source.packets():
            if number < segment.start:
                continue
            if number != wanted or packet.is_corrupt or (number == segment.start and not packet.is_keyframe):
                raise FaultError(f"object {source.key} is broken at frame {wanted}")
            yield packet
            wanted += 1
            if wanted == segment.stop:
                return
    except av.InvalidDataError as error:
        raise FaultError(f"object {source.key} can't be read at frame {wanted}: {error}") from error
    raise FaultError(f"object {source.key} ends at frame {wanted}, the timeline wants frames up to {segment.stop}")


def _check_parameter_sets(source: OpenObject, expected: bytes) -> None:
    """Here two sets of parameters would be merged into one avcC, once there are objects of other encoders."""
    if source.parameter_sets != expected:
        raise FaultError(f"object {source.key} has other parameter sets (SPS, PPS) than the object it is joined to")

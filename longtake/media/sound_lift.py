"""The sound of a whole timeline → one object: its packets as they are, silence between them included."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from longtake.media.encode import MP4_OPTIONS
from longtake.media.objects import Opener
from longtake.media.output import whole_file
from longtake.media.sound import sound_track
from longtake.timeline import Timeline


def lift_sound(
    timeline: Timeline, open_object: Opener, path: Path, alive: Callable[[], None] = lambda: None
) -> Fraction | None:
    """Copies what `sound_track` gives to an MP4 at `path` that holds nothing else, its first packet at pts 0.

    Answers when that one is played, in seconds after the first frame; None, and no file, where there is no sound.
    `alive` is called for each packet; what it raises ends the work. Raises FaultError where an object is broken.
    """
    track = sound_track(timeline, open_object)
    if track is None:
        return None
    first: int | None = None
    with whole_file(path) as part, av.open(str(part), "w", format="mp4", options=MP4_OPTIONS) as output:
        assert isinstance(output, OutputContainer)
        stream = track.add_to(output)
        for packet in track.packets():
            alive()
            assert packet.pts is not None
            first = packet.pts if first is None else first
            packet.pts = packet.dts = packet.pts - first
            packet.stream = stream
            output.mux_one(packet)
    return Fraction(first or 0) * track.time_base

"""A video file that somebody brought → objects of ours: its picture, kept or encoded anew, and its sound."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from longtake.errors import MediaError
from longtake.media.house import Breaks, bring_home
from longtake.media.keep import NotKept, keep
from longtake.media.probe import why_not_kept
from longtake.media.sound_keep import keep_sound
from longtake.media.survey import Survey, survey
from longtake.timeline import Segment
from longtake.video import VideoFormat

OF_PICTURE, OF_SOUND = 0.9, 0.95
"""How much of the work is done when the picture is there, and while the sound is kept."""

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Brought:
    """What was made of a file."""

    segment: Segment
    """Its owner, its key and its sound are for the caller to fill in."""
    format: VideoFormat
    converted: tuple[str, ...]
    """What could not be kept as it was."""
    sound_start: Fraction | None
    """When the sound begins, in seconds after the first frame; None where there is none."""


def bring(progress: Progress, path: Path, picture: Path, sound: Path) -> Brought:
    """Makes the file at `path` an object at `picture`, packet for packet where its packets can be joined, else in house
    format, and of its sound one at `sound`, where it has any.

    Of a file that breaks off, or breaks, what is whole ahead of that is kept: its segment's `broken` says so.
    `progress` is told again and again how much is done, 0 to 1; what it raises ends the work. Raises MediaError.
    """
    found = survey(path, salvage=True)
    segment, made, converted, first = _picture(path, found, picture, lambda part: progress(OF_PICTURE * part))
    if not found.has_sound:
        return Brought(segment, made, converted, None)
    kept, remarks = keep_sound(path, first * found.time_base, sound, lambda: progress(OF_SOUND))
    return Brought(segment, made, (*converted, *remarks), kept.start if kept else None)


def _picture(
    path: Path, found: Survey, home: Path, progress: Progress
) -> tuple[Segment, VideoFormat, tuple[str, ...], int]:
    """The last one: when its first frame is shown in the file, in the stream's units."""
    if not any(why_not_kept(found)):
        with suppress(NotKept):
            return (*keep(path, found, home, progress), (), min(found.coded_pts, default=0))
    starts: list[int] = []
    try:
        encoded, made, notes = bring_home(path, home, found=found, progress=progress, begins=starts.append)
    except Breaks as error:
        ahead = None if error.last_pts is None or found.broken else found.until(error.last_pts + 1, str(error))
        if ahead is None or not ahead.num_frames:
            raise MediaError(error.message) from error
        return _picture(path, ahead, home, progress)
    segment = Segment("", "", 0, encoded.num_frames, encoded.key_frames, broken=found.broken)
    return segment, made, notes, next(iter(starts), min(found.pts, default=0))

"""From one end of a shot to the other: flow between two pictures of one scene, else both move through a dissolve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np

from longtake.engines.base import Report, Shot
from longtake.engines.motion.between import interpolation
from longtake.engines.motion.blend import Servo, mix, shift_tone, tone_difference
from longtake.engines.motion.camera import Path
from longtake.engines.motion.ends import End, PictureEnd
from longtake.engines.motion.flow import mean_squared
from longtake.engines.motion.frame import Frame, proxy
from longtake.engines.motion.stills import MovingStill
from longtake.engines.motion.threads import drawn

_CLIP_OVERLAP_SECONDS = 0.8
_PICTURE_OVERLAP_SECONDS = 1.5
_SIDE, _BLOCK = 240, 8
_UNLIKE_STEPS, _UNLIKE_LEVELS = 8.0, 100.0
"""Two scenes are unlike where half of their blocks differ by this many steps of the footage, and so many levels
squared. Block by block, what is plain in both would then go over at once and the rest seconds later."""
_SAME_PICTURE = 4.0
"""Two pictures that differ by less (mean squared, in levels) are one, stored twice."""


def across(before: End, after: End, shot: Shot, report: Report) -> Iterator[Frame]:
    """The frames of a shot with two ends; a still at either end is its first or last frame, bit for bit."""
    if isinstance(before, PictureEnd) and isinstance(after, PictureEnd):
        start = 0 if before.shown else -1
        stop = shot.num_frames - 1 if after.shown else shot.num_frames
        if mean_squared(before.picture.y, after.picture.y) < _SAME_PICTURE:
            report.note("Both ends show one picture: the camera moves out over it and comes back.")
            return _there_and_back(before.picture, after.picture, shot, start, stop)
        between = interpolation(before.picture, after.picture)
        if between is not None:
            _note_unused_concepts(shot, report)
            report.note(
                "Both ends show one scene: what moved between them moves in straight lines, and where nothing tells "
                "how it moved, the one picture fades into the other."
            )
            return drawn(
                partial(_picture_at, index, start, stop, before.picture, after.picture, between.at)
                for index in range(shot.start, shot.num_frames)
            )
    if before.is_moving or after.is_moving:
        _note_unused_concepts(shot, report)
    report.note("The two ends are joined by a dissolve while both keep moving: no frame shows the way between them.")
    return _dissolve(before, after, shot)


def _note_unused_concepts(shot: Shot, report: Report) -> None:
    if shot.concepts:
        report.note(f"The camera move ({', '.join(shot.concepts)}) is left out: both ends fix where the camera is.")


def _there_and_back(first: Frame, second: Frame, shot: Shot, start: int, stop: int) -> Iterator[Frame]:
    """A camera move over one picture that ends where it began; what little the two stored pictures differ by fades."""
    rate, span = float(shot.format.frame_rate), max(stop - start, 1)
    concept = next(iter(shot.concepts), "")
    path = Path(concept, span / rate, loop=True, seed=shot.seed)
    same = all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    moving = MovingStill(first, path)
    other = moving if same else MovingStill(second, path)

    def at(moment: float) -> Frame:
        frame = moving.at(moment * span / rate)
        if same:
            return frame
        late = other.at(moment * span / rate)
        pairs = zip(frame, late, strict=True)
        return Frame(*(np.asarray(cv2.addWeighted(a, 1 - moment, b, moment, 0), np.uint8) for a, b in pairs))

    places = range(shot.start, shot.num_frames)
    return drawn(partial(_picture_at, index, start, stop, first, second, at) for index in places)


def _picture_at(index: int, start: int, stop: int, first: Frame, second: Frame, at: Callable[[float], Frame]) -> Frame:
    """Frame `index` of a motion whose first picture stands at `start` and whose second at `stop`."""
    if index == start:
        return first
    if index == stop:
        return second
    return at((index - start) / (stop - start))


def _dissolve(before: End, after: End, shot: Shot) -> Iterator[Frame]:
    """Away from the one and towards the other, with an overlap in the middle; stills stay out of the overlap.

    From the shot's `start` on.
    """
    is_clip = before.is_moving or after.is_moving
    wanted = round((_CLIP_OVERLAP_SECONDS if is_clip else _PICTURE_OVERLAP_SECONDS) * float(shot.format.frame_rate))
    least_lead = int(isinstance(before, PictureEnd) and before.shown)
    least_rest = int(isinstance(after, PictureEnd) and after.shown and shot.num_frames > least_lead)
    overlap = max(0, min(wanted, shot.num_frames - least_lead - least_rest))
    lead = max(least_lead, (shot.num_frames - overlap) // 2)
    lead = min(lead, shot.num_frames - overlap - least_rest)
    if shot.start >= lead + overlap:
        yield from after.towards(shot.num_frames - lead, shot.start - lead)
        return
    # What the servo does in one step follows from all steps before: it is begun anew, from the frame ahead of it.
    begin = min(shot.start, max(0, lead - 1))
    first, second = before.away(lead + overlap, begin), after.towards(shot.num_frames - lead)
    previous = before.picture
    for index in range(begin, lead):
        previous = next(first)
        if index >= shot.start:
            yield previous
    energy = max(before.energy(), after.energy())
    servo = None if _are_unlike(before.picture, after.picture, energy) else Servo(overlap, energy, previous)
    difference = tone_difference(before.picture, after.picture)
    for step in range(1, overlap + 1):
        share = step / (overlap + 1)
        early, late = shift_tone(next(first), difference, share), shift_tone(next(second), difference, share - 1)
        mixed = servo.mix(early, late) if servo else _mixed_evenly(early, late, share)
        if lead + step > shot.start:
            yield mixed
    yield from second


def _are_unlike(first: Frame, second: Frame, energy: float) -> bool:
    """Whether most of the one picture could not pass for the other, a few frames on. `energy` as in `Servo`."""
    a, b = (proxy(frame.y, _SIDE).astype(np.float32) for frame in (first, second))
    size = (max(1, a.shape[1] // _BLOCK), max(1, a.shape[0] // _BLOCK))
    blocks = cv2.resize(np.square(b - a), size, interpolation=cv2.INTER_AREA)
    return float(np.median(blocks)) > _UNLIKE_STEPS * energy + _UNLIKE_LEVELS


def _mixed_evenly(early: Frame, late: Frame, share: float) -> Frame:
    """A dissolve that is everywhere as far, eased at both ends."""
    eased = share * share * (3 - 2 * share)
    return mix(early, late, np.full(early.y.shape, eased, np.float32))

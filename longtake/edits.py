"""Edits: frames that are there, made anew: larger, or on a canvas of another shape. No engine is asked.

Frames are decoded, worked on and encoded a batch at a time, as new ones are. Their times stay, their sound is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from longtake.engines.motion.frame import Box
from longtake.engines.motion.surround import Surround
from longtake.errors import FaultError
from longtake.footage import Source, Tell, segment_key, sound_key, work_file
from longtake.frames import Frames, Plane
from longtake.media.colour import meaning
from longtake.media.decode import read
from longtake.media.encode import closed
from longtake.media.planes import batch_length
from longtake.media.scaling import Scaler
from longtake.media.sound_lift import lift_sound
from longtake.media.stills import fit
from longtake.orders import Order
from longtake.placing import Placement, Rectangle, part_seen, place
from longtake.planning import Plan
from longtake.rendering import Rendered, encode_segment
from longtake.store import Store
from longtake.timeline import Sound, Timeline
from longtake.video import Colour, Still, VideoFormat
from longtake.watching import Live


def edit(
    id: str, order: Order, plan: Plan, source: Source, store: Store, tell: Tell, *, live: bool = False
) -> Rendered:
    """Makes the frames of `source` anew, as `order.edit` says and `plan` has it, with their times and their sound.

    The new segment holds all of them. Memory is two batches. `live`: what is done can be watched at once. Raises
    OrderError where an image turns out not to fit, and what `tell` raises.
    """
    if order.edit is None or source is None:
        raise FaultError(f"{id} is no edit, or has nothing to work on")
    format, num_frames, timeline = plan.outline.format, plan.outline.num_frames, plan.before
    if timeline is None:
        assert isinstance(source, Still)
        placed = place(order.edit, Fraction(source.width), Fraction(source.height))
        picture = _picture(source, store)
        stands = _placed(iter([picture]), placed, (picture.width, picture.height))
        frames, notes = _held(stands, num_frames), placed.notes
    else:
        given = timeline.format
        placed = place(order.edit, given.width * given.pixel_aspect, Fraction(given.height))
        frames, notes = _placed(read(timeline, 0, num_frames, store.open), placed, (given.width, given.height)), ()
    stamps = timeline.stamps_of(0, num_frames) if timeline else None
    publish = Live(id, plan, None, None, store).publish if live and stamps is None else None
    told = _told(frames, num_frames, tell)
    with closed(frames):
        segment, sha256 = encode_segment(segment_key(id), id, told, format, store, stamps=stamps, publish=publish)
    sound = _sound(id, timeline, store, tell) if timeline else None
    return Rendered(replace(segment, sound=sound), None, None, notes, None, sha256)


def _placed(frames: Iterator[Frames], placed: Placement, size: tuple[int, int]) -> Iterator[Frames]:
    """Each frame, of `size`, scaled, cut to what is kept, and laid on the canvas.

    What is farther outside of the canvas than the filter reaches is not made, and batches are as long as what is made
    allows, which may be much larger than what is read.
    """
    surround = None if placed.is_full else Surround(placed.canvas, Box(*placed.kept))
    part, made = part_seen(placed, *size)
    kept = placed.kept.moved(-made.left, -made.top)
    scaler = Scaler((made.width, made.height))
    step = min(batch_length(made.width, made.height), batch_length(*placed.canvas))
    for batch in frames:
        given = Frames(_cut(batch, part), _said(batch))
        for start in range(0, batch.num_frames, step):
            scaled = scaler.of(given[start : start + step])
            cut = Frames(_cut(scaled, kept), scaled.colour)
            yield surround.of(cut) if surround else cut


def _cut(frames: Frames, part: Rectangle) -> tuple[Plane, ...]:
    box = Box(*part)
    pairs = zip(frames.planes, (box, box.halved(), box.halved()), strict=True)
    return tuple(plane[(slice(None), *one.where)] for plane, one in pairs)


def _said(frames: Frames) -> Colour:
    """Their colour, the matrix said: where it is not, it follows from the size, which a part of them has not."""
    matrix, _ = meaning(frames.colour, frames.width, frames.height)
    return frames.colour._replace(matrix=int(matrix))


def _picture(still: Still, store: Store) -> Frames:
    """The image in its own size, less a row or a column where that is odd."""
    format = VideoFormat(max(2, still.width // 2 * 2), max(2, still.height // 2 * 2), Fraction(1))
    source, max_pixels = store.open(still.key), still.width * still.height
    if isinstance(source, str):
        return fit(Path(source), format, max_pixels=max_pixels)
    with source:
        return fit(source, format, max_pixels=max_pixels)


def _held(frames: Iterator[Frames], num_frames: int) -> Iterator[Frames]:
    """Their first one, so many times."""
    first = next(frames)
    for _ in range(num_frames):
        yield first


def _told(frames: Iterator[Frames], num_frames: int, tell: Tell) -> Iterator[Frames]:
    done = 0
    tell("render", 0.0)
    for batch in frames:
        yield batch
        done += batch.num_frames
        tell("render", done / num_frames)


def _sound(id: str, timeline: Timeline, store: Store, tell: Tell) -> Sound | None:
    """All sound of the timeline in one object, packet for packet."""
    key = sound_key(id)
    with work_file(store, key) as path:
        start = lift_sound(timeline, store.open, path, lambda: tell("render", 1.0))
        if start is None:
            return None
        store.put_file(key, path)
    return Sound(key, start)

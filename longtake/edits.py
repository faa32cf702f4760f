"""Edits: frames that are there, made anew: larger, or on a canvas of another shape. No engine is asked.

Frames are decoded, worked on and encoded a batch at a time, as new ones are. Their times stay, their sound is copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from longtake.engines.motion.frame import Box
from longtake.engines.motion.surround import Surround
from longtake.errors import FaultError
from longtake.footage import Tell, Telling, meanwhile, put_away, work_file
from longtake.frames import Frames, Plane
from longtake.media.colour import meaning
from longtake.media.decode import read
from longtake.media.encode import closed
from longtake.media.planes import batch_length
from longtake.media.scaling import Scaler
from longtake.media.sound_lift import lift_sound
from longtake.media.stills import fit
from longtake.parts import Reel, Rendered, encode_segment
from longtake.placing import Placement, Rectangle, part_seen, place
from longtake.scene import Scene
from longtake.store import Store
from longtake.timeline import Sound, Timeline
from longtake.video import Colour, Still, VideoFormat
from longtake.watching import Live


class Editing:
    """Makes the frames of `scene.before` anew, as its order's `edit` says, with their times and their sound.

    The new segment holds all of them. Memory is two batches. Each frame is made of one: it begins at any of them.
    """

    def __init__(self, scene: Scene, *, live: bool = False) -> None:
        """`live`: what is done can be watched at once. Raises OrderError where an image turns out not to fit."""
        edit, plan, source = scene.order.edit, scene.plan, scene.before
        if edit is None or source is None:
            raise FaultError(f"{scene.run.id} is no edit, or has nothing to work on")
        self._scene = scene
        self._timeline, self._still = plan.before, source if isinstance(source, Still) else None
        if self._timeline:
            given = self._timeline.format
            self._placed = place(edit, given.width * given.pixel_aspect, Fraction(given.height))
        else:
            assert self._still
            self._placed = place(edit, Fraction(self._still.width), Fraction(self._still.height))
        self.stamps = self._timeline.stamps_of(0, plan.outline.num_frames) if self._timeline else None
        """Of all frames, where they are not equally long."""
        self._is_live = live and self.stamps is None
        self._tell = Telling(scene.tell, "render")
        self._begun: tuple[Iterator[Frames], Reel, Live | None] | None = None

    def make(self, key: str, start: int, stop: int, done: Sequence[Rendered]) -> Rendered:
        """As `parts.Making` has it. Raises what `tell` raises."""
        scene, outline = self._scene, self._scene.plan.outline
        if self._begun is None:
            pieces = [piece.segment for piece in done]
            look = self._tell.look
            live = Live(scene.run, scene.plan, None, None, scene.store, pieces, look=look) if self._is_live else None
            frames = self._frames(start)
            self._begun = frames, Reel(frames), live
        _, reel, live = self._begun
        segment, sha256 = encode_segment(
            key,
            scene.run.id,
            _told(reel.take(stop - start), start, outline.num_frames, self._tell),
            outline.format,
            scene.store,
            stamps=self.stamps.of(start, stop) if self.stamps else None,
            publish=live.publish if live else None,
            look=self._tell.look,
        )
        sound = None
        if self._timeline and stop == outline.num_frames:
            sound = _sound(scene, self._timeline)
        notes = () if self._timeline else self._placed.notes
        return Rendered(replace(segment, sound=sound), None, None, notes, None, sha256)

    def close(self) -> None:
        begun, self._begun = self._begun, None
        if begun:
            with closed(begun[0]):
                pass

    def _frames(self, start: int) -> Iterator[Frames]:
        num_frames, store = self._scene.plan.outline.num_frames, self._scene.store
        if self._timeline:
            given = self._timeline.format
            batches = read(self._timeline, start, num_frames, store.open)
            return _placed(batches, self._placed, (given.width, given.height))
        assert self._still
        picture = meanwhile(self._tell.look, partial(_picture, self._still, store))
        stands = _placed(iter([picture]), self._placed, (picture.width, picture.height))
        return _held(stands, num_frames - start)


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


def _told(frames: Iterator[Frames], done: int, num_frames: int, tell: Tell) -> Iterator[Frames]:
    tell("render", done / num_frames)
    for batch in frames:
        yield batch
        done += batch.num_frames
        tell("render", done / num_frames)


def _sound(scene: Scene, timeline: Timeline) -> Sound | None:
    """All sound of the timeline in one object, packet for packet."""
    key, store, look = scene.run.sound(), scene.store, scene.look("render")
    with work_file(store, key) as path:
        start = lift_sound(timeline, store.open, path, look)
        if start is None:
            return None
        put_away(store, key, path, look)
    return Sound(key, start)

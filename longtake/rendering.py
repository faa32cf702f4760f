"""From an order and its ends to a finished video: the same few steps in a worker and on the command line.

It knows engines, media and the store, but no database: how a step is made durable is its caller's affair.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from longtake.engines.base import Engine, Frames, Shot
from longtake.errors import FaultError
from longtake.media.colour import to_yuv
from longtake.media.colour_fit import fit_colour
from longtake.media.decode import read, read_all
from longtake.media.encode import Publish, closed, encode
from longtake.media.reversal import Mirror
from longtake.media.seams import Seam, measure
from longtake.media.sheet import poster
from longtake.media.sound_continue import continue_sound
from longtake.media.sound_heard import measure_jump
from longtake.media.splice import splice
from longtake.media.stills import fit, fit_remark
from longtake.orders import Order
from longtake.planning import MOST_CONTEXT_BYTES, Plan
from longtake.store import Store
from longtake.timeline import Segment, Sound, Stamps, Timeline
from longtake.video import Colour, Still, VideoFormat
from longtake.watching import Live


@dataclass(frozen=True, slots=True)
class Footage:
    """A video that is there already: what a parent or a user's file has become."""

    timeline: Timeline
    seams: tuple[Seam, ...] = ()
    converted: tuple[str, ...] = ()
    """What of a user's file could not be kept as it was."""

    def to_json(self) -> dict[str, Any]:
        return {
            "timeline": self.timeline.to_json(),
            "seams": [seam.to_json() for seam in self.seams],
            "notes": list(self.converted),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Footage:
        seams = tuple(Seam.from_json(seam) for seam in data["seams"])
        return cls(Timeline.from_json(data["timeline"]), seams, tuple(data["notes"]))


SOUND_NOTE = "Ambient sound goes on under the new part; speech and music are not continued."
Source = Still | Footage | None


def timeline_in(source: Source) -> Timeline | None:
    """The timeline of footage; None for all else."""
    return source.timeline if isinstance(source, Footage) else None


Tell = Callable[[str, float], None]
"""Told as long work goes on: the stage, and how much of it is done, 0 to 1. Raises Cancelled where it is to stop."""
Look = Callable[[], None]
"""Called again and again where there is no progress to tell of; raises as `Tell` does."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The new part, in the store."""

    segment: Segment
    tail: Segment | None
    """Frames of the video at frame0 ahead of a cut that its packets can't end at, encoded again."""
    lead: Segment | None
    """Frames of the video at frame1 between a cut and its next key frame, encoded again."""
    notes: tuple[str, ...]
    reversal: float | None = None
    """How much of what moves in it runs backwards, 0 to 1; None where no footage says what forwards is."""
    sha256: str = ""
    """Of the segment's bytes, in hexadecimal; empty in what was kept before it was taken."""

    def to_json(self) -> dict[str, Any]:
        return {
            "segment": self.segment.to_json(),
            "tail": self.tail.to_json() if self.tail else None,
            "lead": self.lead.to_json() if self.lead else None,
            "notes": list(self.notes),
            "reversal": self.reversal,
            "sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Rendered:
        tail, lead = (Segment.from_json(data[part]) if data.get(part) else None for part in ("tail", "lead"))
        sha256 = data.get("sha256", "")
        return cls(Segment.from_json(data["segment"]), tail, lead, tuple(data["notes"]), data["reversal"], sha256)


@dataclass(frozen=True, slots=True)
class Heard:
    """The sound under the new part."""

    sound: Sound | None = None
    jump: float | None = None
    inside: float | None = None
    """As `media.sound_heard.Jump` has them, in dB."""
    notes: tuple[str, ...] = ()

    def under(self, rendered: Rendered) -> Rendered:
        """The new part with this sound."""
        return replace(rendered, segment=replace(rendered.segment, sound=self.sound)) if self.sound else rendered

    def figures(self) -> dict[str, Any]:
        """As the answer shows it."""
        return {"mode": "continue" if self.sound else "silence", "jump": self.jump, "inside": self.inside}

    def to_json(self) -> dict[str, Any]:
        sound = self.sound.to_json() if self.sound else None
        return {"sound": sound, "jump": self.jump, "inside": self.inside, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Heard:
        sound = Sound.from_json(data["sound"]) if data["sound"] else None
        return cls(sound, data["jump"], data["inside"], tuple(data["notes"]))


def render(
    id: str,
    order: Order,
    plan: Plan,
    before: Source,
    after: Source,
    engine: Engine,
    store: Store,
    tell: Tell,
    *,
    take: int = 0,
    earlier: Rendered | None = None,
    live: bool = False,
) -> Rendered:
    """Shows the engine its context, and pulls its frames straight into the encoder and the store.

    Next to footage their tone is fitted to it; what moves in them is compared with how it moves there. `take` counts
    from 0; what is encoded again is the same for all, and taken over from an `earlier` one. `live`: what is done can be
    watched at once.
    """
    notes: list[str] = []
    tail, lead = (earlier.tail, earlier.lead) if earlier else _encode_again(id, plan, store)
    publish = Live(id, plan, tail, lead, store).publish if live else None
    shot = _shot(order, plan, before, after, store, take, notes, partial(tell, "render", 0.0))
    footage = (shot.before if shot.cell.before == "clip" else None, shot.after if shot.cell.after == "clip" else None)
    frame_rate = float(shot.format.frame_rate)
    mirror = Mirror([stretch for stretch in footage if stretch], shot.num_frames, frame_rate)
    with closed(engine.render(shot, _Report(tell, shot.num_frames, notes))) as made:
        planar = _exactly(shot.num_frames, made, shot.format.coding.colour)
        frames = fit_colour(planar, shot.num_frames, frame_rate, *footage, notes.append)
        segment, sha256 = _encode(segment_key(id, take), id, mirror.watch(frames), shot.format, store, publish=publish)
    if tail:
        notes.append(f"Encoded again: {_frames(tail)} ahead of the cut, which can't be decoded without later ones.")
    if lead:
        notes.append(f"Encoded again: {_frames(lead)} between the cut and the next key frame.")
    return Rendered(segment, tail, lead, tuple(notes), mirror.reversal(), sha256)


def lay_sound(
    id: str, order: Order, plan: Plan, rendered: Rendered, take: int, store: Store, tell: Tell
) -> dict[str, Any]:
    """Makes sound for the new part of a take that goes on from what is beside it: JSON for `Heard.from_json`."""
    key, num_frames, seed = sound_key(id, take), plan.outline.num_frames, seed_of(order, take)
    timeline, first = timeline_of(plan, rendered)
    alive = partial(tell, "sound", 1.0)
    with work_file(store, key) as path:
        made = continue_sound(timeline, first, num_frames, seed, store.open, path, loop=order.loop, alive=alive)
        if isinstance(made, str):
            return Heard(notes=(f"The new part is silent: {made}.",)).to_json()
        store.put_file(key, path)
    heard = Heard(Sound(key, made), notes=(SOUND_NOTE,))
    timeline, _ = timeline_of(plan, heard.under(rendered))
    jump = measure_jump(timeline, first, num_frames, store.open)
    return replace(heard, jump=round(jump.joins, 2), inside=round(jump.inside, 2)).to_json()


def seed_of(order: Order, take: int) -> int:
    """The seed of a take, which counts from 0: the order's own, and those that follow it."""
    return ((order.seed or 0) + take) % 2**32


def segment_key(id: str, take: int = 0) -> str:
    """Where a take's new part is kept; takes count from 0."""
    return f"segments/{id}-take{take + 1}.mp4" if take else f"segments/{id}.mp4"


def sound_key(id: str, take: int = 0) -> str:
    """Where the sound of a take's new part is kept, where it has any."""
    return f"{segment_key(id, take).removesuffix('.mp4')}-sound.mp4"


def again_keys(id: str) -> tuple[str, str]:
    """Where the frames at the cuts that had to be encoded again are kept: those of frame0, those of frame1."""
    return f"segments/{id}-tail.mp4", f"segments/{id}-lead.mp4"


def timeline_of(plan: Plan, rendered: Rendered) -> tuple[Timeline, int]:
    """The finished video's timeline, and the frame at which the new part begins."""
    new = (rendered.tail, rendered.segment, rendered.lead)
    timeline = Timeline(plan.outline.format, tuple(segment for segment in new if segment))
    if plan.rest:
        timeline += plan.rest
    if plan.head:
        timeline = plan.head + timeline
    return timeline, plan.outline.before_stop


def join(id: str, timeline: Timeline, store: Store) -> tuple[str, int]:
    """Writes the finished MP4 by copying packets: its key and its size in bytes."""
    key = f"videos/{id}.mp4"
    with work_file(store, key) as path:
        splice(timeline, store.open, path)
        return key, store.put_file(key, path)


def measure_seams(
    plan: Plan, order: Order, timeline: Timeline, before: Source, after: Source, store: Store
) -> tuple[Seam, ...]:
    """The figures of the joins that are new, and of those that the parents had, at their new places."""
    new_start = plan.outline.before_stop
    new_stop = new_start + plan.outline.num_frames
    shift = new_stop - plan.outline.after_start
    seams: list[Seam] = []
    if isinstance(before, Footage):
        seams += [seam for seam in before.seams if 0 < seam.frame < new_start]
        seams.append(_seam(timeline, new_start, new_start, store))
    if isinstance(after, Footage):
        seams.append(_seam(timeline, new_stop, new_stop, store))
        seams += [
            replace(seam, frame=seam.frame + shift) for seam in after.seams if seam.frame > plan.outline.after_start
        ]
    if order.loop:
        seams.append(replace(_seam(timeline, timeline.num_frames, 0, store), frame=0))
    return tuple(seams)


def make_poster(id: str, timeline: Timeline, store: Store) -> str:
    """A JPEG of the video's first frame: its key."""
    key = f"images/{id}.jpg"
    store.put(key, poster(read_all(timeline, 0, 1, store.open)))
    return key


def _seam(timeline: Timeline, left: int, right: int, store: Store) -> Seam:
    """The join of the second that ends ahead of frame `left` with the one that begins at frame `right`."""
    frame_bytes = timeline.format.width * timeline.format.height * 3 // 2
    second = max(2, min(timeline.format.num_frames(Fraction(1)), MOST_CONTEXT_BYTES // 2 // frame_bytes))
    stop = min(timeline.num_frames, right + second)
    with ThreadPoolExecutor(1) as pool:
        after = pool.submit(read_all, timeline, right, stop, store.open)
        return measure(read_all(timeline, max(0, left - second), left, store.open), after.result(), left)


def _shot(
    order: Order, plan: Plan, before: Source, after: Source, store: Store, take: int, notes: list[str], look: Look
) -> Shot:
    """What the engine is told; its context is decoded for it."""
    end = partial(_end, plan.outline.format, store, notes, look)
    circle = order.loop and before is not None
    return Shot(
        cell=plan.cell,
        format=plan.outline.format,
        num_frames=plan.outline.num_frames,
        before=end(before, plan.before, plan.context_before),
        after=end(before if circle else after, plan.before if circle else plan.after, plan.context_after),
        prompt=order.prompt,
        negative_prompt=order.negative_prompt,
        concepts=order.concepts,
        seed=seed_of(order, take),
        loop=order.loop,
    )


def _end(
    format: VideoFormat,
    store: Store,
    notes: list[str],
    look: Look,
    source: Source,
    timeline: Timeline | None,
    context: tuple[int, int] | None,
) -> Frames | None:
    if isinstance(source, Still):
        remark = fit_remark(source.width, source.height, format)
        if remark and remark not in notes:
            notes.append(remark)
        return _fitted(source, format, store)
    if timeline is None or context is None:
        return None
    return read_all(timeline, *context, store.open, look)


def _fitted(still: Still, format: VideoFormat, store: Store) -> Frames:
    source, max_pixels = store.open(still.key), still.width * still.height  # its size was judged when it came in
    if isinstance(source, str):
        return fit(Path(source), format, max_pixels=max_pixels)
    with source:
        return fit(source, format, max_pixels=max_pixels)


def _encode_again(id: str, plan: Plan, store: Store) -> tuple[Segment | None, Segment | None]:
    """What can't be copied at the cuts: the end of what is kept of frame0, the start of what is kept of frame1."""
    start, stop = plan.outline.before_stop, plan.outline.after_start
    tail_key, lead_key = again_keys(id)
    tail = _again(tail_key, plan.before, start - plan.num_tail, start, plan.outline.format, store)
    lead = _again(lead_key, plan.after, stop, stop + plan.num_lead, plan.outline.format, store)
    return tail, lead


def _again(
    key: str, timeline: Timeline | None, start: int, stop: int, format: VideoFormat, store: Store
) -> Segment | None:
    """The frames `[start, stop)` of the timeline as an object of their own, with the sound that they had."""
    if timeline is None or start == stop:
        return None
    stamps = timeline.stamps_of(start, stop)
    frames = read(timeline, start, stop, store.open)
    segment = _encode(key, timeline.owner_of(start), frames, format, store, stamps=stamps)[0]
    return replace(segment, sound=timeline.sound_of(start))


def _frames(segment: Segment) -> str:
    return "1 frame" if segment.num_frames == 1 else f"{segment.num_frames} frames"


def _exactly(num_frames: int, frames: Iterator[Frames], colour: Colour) -> Iterator[Frames]:
    """The engine's frames as 4:2:0 of this colour, as many as were asked for: another number is the engine's fault."""
    left = num_frames
    for batch in frames:
        left -= batch.num_frames
        if left < 0:
            break
        yield to_yuv(batch, colour)
    if left:
        gave = "more" if left < 0 else num_frames - left
        raise FaultError(f"the engine was asked for {num_frames} frames and gave {gave}")


def _encode(
    key: str,
    owner: str,
    frames: Iterator[Frames],
    format: VideoFormat,
    store: Store,
    *,
    stamps: Stamps | None = None,
    publish: Publish | None = None,
) -> tuple[Segment, str]:
    """The segment, and the SHA-256 of its bytes."""
    with work_file(store, key) as path:
        encoded = encode(frames, format, path, stamps, publish)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        store.put_file(key, path)
    return Segment(owner, key, 0, encoded.num_frames, encoded.key_frames, stamps), sha256


@dataclass(frozen=True, slots=True)
class _Report:
    """The engine's one arrow back."""

    tell: Tell
    num_frames: int
    notes: list[str]

    def progress(self, num_frames: int) -> None:
        self.tell("render", num_frames / self.num_frames)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


@contextmanager
def work_file(store: Store, key: str) -> Iterator[Path]:
    """Where an object is made before it is one; nothing is left there."""
    path = (store.work_folder or Path(gettempdir())) / f"{time.monotonic_ns()}-{Path(key).name}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)

"""From a new part to the finished video: its timeline, its file, the figures of its joins, its poster, its sound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

from longtake.footage import Footage, Source, Tell, sound_key, work_file
from longtake.media.decode import read_all
from longtake.media.seams import Seam, measure
from longtake.media.sheet import poster
from longtake.media.sound import SoundTrack, sound_track
from longtake.media.sound_continue import continue_sound
from longtake.media.sound_heard import measure_jump
from longtake.media.splice import splice
from longtake.orders import Order
from longtake.planning import MOST_CONTEXT_BYTES, Plan
from longtake.rendering import Rendered, seed_of
from longtake.store import Store
from longtake.timeline import Sound, Timeline

SOUND_NOTE = "Ambient sound goes on under the new part; speech and music are not continued."


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


def timeline_of(plan: Plan, rendered: Rendered) -> tuple[Timeline, int]:
    """The finished video's timeline, and the frame at which the new part begins."""
    new = (rendered.tail, rendered.segment, rendered.lead)
    timeline = Timeline(plan.outline.format, tuple(segment for segment in new if segment))
    if plan.rest:
        timeline += plan.rest
    if plan.head:
        timeline = plan.head + timeline
    return timeline, plan.outline.before_stop


def join(id: str, timeline: Timeline, store: Store) -> tuple[str, int, list[str]]:
    """Writes the finished MP4 by copying packets: its key, its size in bytes, and what is to be said of its sound."""
    key = f"videos/{id}.mp4"
    sound = sound_track(timeline, store.open)
    with work_file(store, key) as path:
        splice(timeline, store.open, path, sound)
        return key, store.put_file(key, path), _remarks(timeline, sound) if sound else []


def _remarks(timeline: Timeline, sound: SoundTrack) -> list[str]:
    """What is done to the sound of parts that sound differently: one file has one coding."""
    remarks = []
    for keys, done in ((sound.coded_anew, "encoded again to match"), (sound.left_out, "left out, for it can't match")):
        owners = dict.fromkeys(part.owner for part in timeline.segments if part.sound and part.sound.key in keys)
        remarks += [f"The sound of {owner} is {done} what comes before it." for owner in owners]
    return remarks


def make_poster(id: str, timeline: Timeline, store: Store) -> str:
    """A JPEG of the video's first frame: its key."""
    key = f"images/{id}.jpg"
    store.put(key, poster(read_all(timeline, 0, 1, store.open), pixel_aspect=timeline.format.pixel_aspect))
    return key


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


def _seam(timeline: Timeline, left: int, right: int, store: Store) -> Seam:
    """The join of the second that ends ahead of frame `left` with the one that begins at frame `right`."""
    frame_bytes = timeline.format.width * timeline.format.height * 3 // 2
    second = max(2, min(timeline.format.num_frames(Fraction(1)), MOST_CONTEXT_BYTES // 2 // frame_bytes))
    stop = min(timeline.num_frames, right + second)
    with ThreadPoolExecutor(1) as pool:
        after = pool.submit(read_all, timeline, right, stop, store.open)
        return measure(read_all(timeline, max(0, left - second), left, store.open), after.result(), left)


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

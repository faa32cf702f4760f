"""From a new part to the finished video: its timeline, its file, the figures of its joins, its poster, its sound."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any

from longtake.footage import Footage, Look, Run, Tell, meanwhile, put_away, work_file
from longtake.media.decode import read_all
from longtake.media.seams import Seam, measure
from longtake.media.sheet import poster
from longtake.media.sound import sound_track
from longtake.media.sound_continue import continue_sound
from longtake.media.sound_heard import measure_jump
from longtake.media.sound_match import code_alike, unlike_sounds, with_sounds
from longtake.media.splice import splice
from longtake.parts import Rendered
from longtake.planning import MOST_CONTEXT_BYTES, Plan
from longtake.rendering import seed_of
from longtake.scene import Scene
from longtake.store import Store
from longtake.timeline import Sound, Timeline

SOUND_NOTE = "Ambient sound goes on under the new part; speech and music are not continued."
ENCODED_AGAIN = "encoded again to match"
LEFT_OUT = "left out, for it can't match"


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


def match_sound(
    run: Run, before: Timeline, stop: int, after: Timeline, start: int, store: Store, tell: Tell
) -> tuple[Timeline, Timeline, tuple[str, ...]]:
    """The two sides of a bridge with sound of one coding, that of the first sound, and what is to be said of it.

    Of the first video the frames up to `stop` are heard, of the second one those from `start` on. What is coded
    otherwise is encoded once, into objects of this run. What can't be, stays as it is.
    """
    shown = (*before.touched(0, stop), *after.touched(start, after.num_frames))
    segments = (replace(part, start=a, stop=b, key_frames=tuple(sorted({0, a}))) for part, a, b in shown)
    both = replace(before, segments=tuple(segments))  # to be heard, not seen
    made, remarks = _match(run, "sound", both, store, partial(tell, "bring", 1.0))
    return with_sounds(before, made), with_sounds(after, made), remarks


def join(run: Run, timeline: Timeline, store: Store, look: Look = lambda: None) -> tuple[str, int, list[str]]:
    """Writes the finished MP4 by copying packets: its key, its size in bytes, and what is to be said of its sound.

    `look` is called again and again, and ends it by raising.
    """
    key = run.key("videos", ".mp4")
    with _in_one_coding(run, timeline, store, look) as (heard, remarks):
        sound = sound_track(heard, store.open)
        with work_file(store, key) as path:
            splice(heard, store.open, path, sound, look)
            left_out = _remarks(timeline, sound.left_out, LEFT_OUT) if sound else ()
            return key, put_away(store, key, path, look), [*remarks, *left_out]


@contextmanager
def _in_one_coding(
    run: Run, timeline: Timeline, store: Store, look: Look
) -> Iterator[tuple[Timeline, tuple[str, ...]]]:
    """The timeline with sound of one coding for as long as this lasts: bridges of before `match_sound` have two."""
    made, remarks = _match(run, "joined", timeline, store, look)
    try:
        yield with_sounds(timeline, made), remarks
    finally:
        if made:
            meanwhile(look, partial(store.delete_many, [sound.key for sound in made.values()]))


def _match(
    run: Run, what: str, timeline: Timeline, store: Store, alive: Look
) -> tuple[dict[str, Sound], tuple[str, ...]]:
    """What was encoded again, as `with_sounds` takes it, and what is to be said of it. `what`: how it is called."""
    track, made = sound_track(timeline, store.open), {}
    for number, unlike in enumerate(unlike_sounds(timeline, track) if track else ()):
        assert track is not None
        key = run.matched(f"{what}-{number}")
        with work_file(store, key) as path:
            start = code_alike(track, unlike, store.open, path, alive)
            if start is not None:
                put_away(store, key, path, alive)
                made[unlike.key] = Sound(key, start)
    return made, tuple(_remarks(timeline, made, ENCODED_AGAIN))


def _remarks(timeline: Timeline, keys: Collection[str], done: str) -> list[str]:
    """What is done to the sound of parts that sound differently: one file has one coding."""
    owners = dict.fromkeys(part.owner for part in timeline.segments if part.sound and part.sound.key in keys)
    return [f"The sound of {owner} is {done} what comes before it." for owner in owners]


def make_poster(run: Run, timeline: Timeline, store: Store, look: Look = lambda: None) -> str:
    """A JPEG of the video's first frame: its key."""
    key = run.key("images", ".jpg")
    picture = poster(read_all(timeline, 0, 1, store.open, look), pixel_aspect=timeline.format.pixel_aspect)
    meanwhile(look, partial(store.put, key, picture))
    return key


def measure_seams(scene: Scene, timeline: Timeline) -> tuple[Seam, ...]:
    """The figures of the joins that are new, and of those that the parents had, at their new places."""
    plan, before, after, store, look = scene.plan, scene.before, scene.after, scene.store, scene.look("measure")
    new_start = plan.outline.before_stop
    new_stop = new_start + plan.outline.num_frames
    shift = new_stop - plan.outline.after_start
    seams: list[Seam] = []
    if isinstance(before, Footage):
        seams += [seam for seam in before.seams if 0 < seam.frame < new_start]
        seams.append(_seam(timeline, new_start, new_start, store, look))
    if isinstance(after, Footage):
        seams.append(_seam(timeline, new_stop, new_stop, store, look))
        seams += [
            replace(seam, frame=seam.frame + shift) for seam in after.seams if seam.frame > plan.outline.after_start
        ]
    if scene.order.loop:
        seams.append(replace(_seam(timeline, timeline.num_frames, 0, store, look), frame=0))
    return tuple(seams)


def _seam(timeline: Timeline, left: int, right: int, store: Store, look: Look) -> Seam:
    """The join of the second that ends ahead of frame `left` with the one that begins at frame `right`."""
    frame_bytes = timeline.format.width * timeline.format.height * 3 // 2
    second = max(2, min(timeline.format.num_frames(Fraction(1)), MOST_CONTEXT_BYTES // 2 // frame_bytes))
    before = timeline.paced(timeline.reach(left, second, back=True), left, back=True)
    after = timeline.paced(right, timeline.reach(right, second, back=False), back=False)
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(read_all, timeline, after[0], after[-1] + 1, store.open, look, wanted=after)
        earlier = read_all(timeline, before[0], before[-1] + 1, store.open, look, wanted=before)
        return measure(earlier, later.result(), left, _step_lengths(timeline, before), _step_lengths(timeline, after))


def _step_lengths(timeline: Timeline, numbers: list[int]) -> list[float] | None:
    """In steps of the format's rate, from each of these frames to the next; None where none is passed over."""
    if numbers[-1] - numbers[0] < len(numbers):
        return None
    times = [timeline.time_of(number) * timeline.format.frame_rate for number in numbers]
    return [float(later - earlier) for earlier, later in pairwise(times)]


def lay_sound(scene: Scene, rendered: Rendered, take: int) -> dict[str, Any]:
    """Makes sound for the new part of a take that goes on from what is beside it: JSON for `Heard.from_json`."""
    given, _ = timeline_of(scene.plan, rendered)
    with _in_one_coding(scene.run, given, scene.store, scene.look("sound")) as (timeline, _):
        return _laid(scene, timeline, rendered.segment.key, take).to_json()


def _laid(scene: Scene, timeline: Timeline, new: str, take: int) -> Heard:
    """Of the new part, the object `new`."""
    order, outline, store, alive = scene.order, scene.plan.outline, scene.store, scene.look("sound")
    key, seed = scene.run.sound(take), seed_of(order, take)
    first, num_frames = outline.before_stop, outline.num_frames
    with work_file(store, key) as path:
        made = continue_sound(timeline, first, num_frames, seed, store.open, path, loop=order.loop, alive=alive)
        if isinstance(made, str):
            return Heard(notes=(f"The new part is silent: {made}.",))
        put_away(store, key, path, alive)
    sound = Sound(key, made)
    whole = tuple(replace(part, sound=sound) if part.key == new else part for part in timeline.segments)
    jump = measure_jump(replace(timeline, segments=whole), first, num_frames, store.open)
    return Heard(sound, round(jump.joins, 2), round(jump.inside, 2), (SOUND_NOTE,))

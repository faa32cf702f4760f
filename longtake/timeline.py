"""The immutable list of segments that a finished video consists of, and its arithmetic.

Extending is list arithmetic: append is `before + new`, prepend `new + after`, bridge `before + new + after`.
A cut shares the objects of what it cuts: a segment is a *range* of an object's frames. `Timeline.head` and
`Timeline.split_at` say which few frames have to be encoded again, for packets can't be cut everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from math import lcm
from typing import Any

from longtake.segments import Segment, Sound, Stamps
from longtake.video import VideoFormat

__all__ = ["Segment", "Sound", "Stamps", "Timeline"]

SAME_PACE = Fraction(103, 100)
"""Frames that follow faster than a rate by no more are shown as they are: 24 at 23.976, or stamps that vary."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Segments of one format, in order of time. Only the first may begin with frames that are not shown."""

    format: VideoFormat
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        for segment in self.segments[1:]:
            if not segment.is_entered:
                raise ValueError(f"a join must be at a key frame, got {segment.start} of {segment.key}")

    @property
    def num_frames(self) -> int:
        return sum(segment.num_frames for segment in self.segments)

    @property
    def seconds(self) -> Fraction:
        return self.time_of(self.num_frames)

    @property
    def broken(self) -> str:
        """What is wrong behind its last frame: there should be more. Empty where it is whole."""
        return self.segments[-1].broken if self.segments else ""

    def time_of(self, frame: int) -> Fraction:
        """When frame `frame` begins, in seconds; the number of frames asks for the end."""
        if not 0 <= frame <= self.num_frames:
            raise ValueError(f"a time needs a frame from 0 to {self.num_frames}, got {frame}")
        seconds = Fraction(0)
        for segment in self.segments:
            inside = min(frame, segment.num_frames)
            seconds += segment.seconds(inside, self.format.frame_rate)
            frame -= inside
        return seconds

    def frame_at(self, seconds: Fraction) -> int:
        """The place between two frames that is nearest to `seconds`, as the number of the frame after it.

        Beyond the end it goes on at the format's rate.
        """
        at = 0
        for segment in self.segments:
            whole = segment.seconds(segment.num_frames, self.format.frame_rate)
            if seconds < whole:
                return at + segment.frame_at(seconds, self.format.frame_rate)
            seconds -= whole
            at += segment.num_frames
        return at + int(seconds * self.format.frame_rate + Fraction(1, 2))

    def stamps_of(self, start: int, stop: int) -> Stamps | None:
        """When the frames `[start, stop)` are shown, counted from the first; None where all are equally long."""
        touched = list(self.touched(start, stop))
        if all(segment.stamps is None for segment, _, _ in touched):
            return None
        lengths = [
            segment.seconds(k + 1 - segment.start, self.format.frame_rate)
            - segment.seconds(k - segment.start, self.format.frame_rate)
            for segment, first, last in touched
            for k in range(first, last)
        ]
        time_base = Fraction(1, lcm(*{length.denominator for length in lengths}))
        return Stamps(time_base, tuple(accumulate((int(length / time_base) for length in lengths), initial=0)))

    def reach(self, frame: int, num_frames: int, *, back: bool) -> int:
        """The other end of the stretch of `num_frames` that ends (`back`) or begins at `frame`, inside the timeline.

        Where frames follow faster than at the format's rate, of as many as last as long as `num_frames` at that rate.
        """
        near = max(0, frame - num_frames) if back else min(self.num_frames, frame + num_frames)
        if not self._is_faster(*sorted((near, frame))):
            return near
        seconds = num_frames / self.format.frame_rate
        if back:
            return min(near, self.frame_at(max(Fraction(0), self.time_of(frame) - seconds)))
        return max(near, min(self.num_frames, self.frame_at(self.time_of(frame) + seconds)))

    def paced(self, start: int, stop: int, *, back: bool) -> list[int]:
        """Which of the frames `[start, stop)` show how it moves at the format's rate: ascending, none twice.

        All, unless they follow faster. Then each is the one nearest to a time one step of the format's rate from the
        one before, counted from the last frame (`back`) or the first, which is always among them; where a frame is
        longer than a step, it is the next one.
        """
        if not self._is_faster(start, stop):
            return list(range(start, stop))
        way = -1 if back else 1
        step = way / self.format.frame_rate
        picked = [stop - 1 if back else start]
        wanted = self.time_of(picked[0]) + step
        while 2 * wanted > -abs(step):
            near = self.frame_at(max(Fraction(0), wanted))
            found = way * max(way * near, way * picked[-1] + 1)
            if not start <= found < stop:
                break
            picked.append(found)
            wanted = (wanted if found == near else self.time_of(found)) + step
        return picked[::way]

    def _is_faster(self, start: int, stop: int) -> bool:
        """Whether the frames `[start, stop)` follow faster than the format's rate by more than is seen."""
        if all(segment.stamps is None for segment, _, _ in self.touched(start, stop)):
            return False
        return stop - start > SAME_PACE * self.format.frame_rate * (self.time_of(stop) - self.time_of(start))

    def at_rate(self, frame_rate: Fraction) -> Timeline:
        """The same frames at the same times, beside new ones of another rate: stamps tell what the rate did."""
        own = self.format.frame_rate
        if frame_rate == own:
            return self
        last: dict[str, int] = {}  # what shares an object is read by the same stamps
        for segment in self.segments:
            last[segment.key] = max(last.get(segment.key, 0), segment.stop)
        stamps = {key: Stamps(1 / own, tuple(range(stop + 1))) for key, stop in last.items()}
        segments = (replace(part, stamps=part.stamps or stamps[part.key]) for part in self.segments)
        return Timeline(replace(self.format, frame_rate=frame_rate), tuple(segments))

    def touched(self, start: int, stop: int) -> Iterable[tuple[Segment, int, int]]:
        """Each segment with the frames of its object `[first, last)` that lie in `[start, stop)` of the timeline."""
        at = 0
        for segment in self.segments:
            first, last = max(start - at, 0), min(stop - at, segment.num_frames)
            if first < last:
                yield segment, segment.start + first, segment.start + last
            at += segment.num_frames

    def __add__(self, other: Timeline) -> Timeline:
        if self.format != other.format:
            raise ValueError(f"timelines of two formats can't be joined: {self.format} and {other.format}")
        return Timeline(self.format, self.segments + other.segments)

    def head(self, num_frames: int) -> tuple[Timeline | None, int]:
        """The first `num_frames` frames: `(kept, num_tail)`.

        The last `num_tail` of them can't be kept, for their packets need later ones: they have to be encoded again.
        `kept` (None where nothing is left) holds the others, shared as they are.
        """
        if not 0 < num_frames <= self.num_frames:
            raise ValueError(f"a head needs 1 to {self.num_frames} frames, got {num_frames}")
        kept: list[Segment] = []
        for segment, _, last in self.touched(0, num_frames):
            stop = segment.exit(last)
            if stop > segment.start:
                kept.append(replace(segment, stop=stop, broken=""))
        num_kept = sum(segment.num_frames for segment in kept)
        return Timeline(self.format, tuple(kept)) if kept else None, num_frames - num_kept

    def split_at(self, frame: int) -> tuple[int, Timeline | None]:
        """All from `frame` on: `(num_lead, rest)`.

        The first `num_lead` of those frames lie before the next key frame: they have to be encoded again.
        `rest` (None where nothing is left) holds the others, shared as they are.
        """
        if not 0 <= frame < self.num_frames:
            raise ValueError(f"a cut needs a frame from 0 to {self.num_frames - 1}, got {frame}")
        at = 0
        for index, segment in enumerate(self.segments):
            if frame < at + segment.num_frames:
                inside = segment.start + frame - at
                kept = segment.next_entry(inside)
                rest = ((kept,) if kept else ()) + self.segments[index + 1 :]
                num_lead = (kept.start if kept else segment.stop) - inside
                return num_lead, Timeline(self.format, rest) if rest else None
            at += segment.num_frames
        raise AssertionError("unreachable: the frame is inside the timeline")

    def owner_of(self, frame: int) -> str:
        """Whose frame it is."""
        return next(iter(self.touched(frame, frame + 1)))[0].owner

    def sound_of(self, frame: int) -> Sound | None:
        """The sound that goes with the frames from `frame` on, up to the end of its segment, counted from it."""
        segment, inside, _ = next(iter(self.touched(frame, frame + 1)))
        if segment.sound is None:
            return None
        whole = replace(segment, start=0)
        return Sound(segment.sound.key, segment.sound.start - whole.seconds(inside, self.format.frame_rate))

    def to_json(self) -> dict[str, Any]:
        return {"format": self.format.to_json(), "segments": [segment.to_json() for segment in self.segments]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Timeline:
        return cls(
            VideoFormat.from_json(data["format"]),
            tuple(Segment.from_json(entry) for entry in data["segments"]),
        )

"""The immutable list of segments that a finished video consists of, and its arithmetic.

Extending is list arithmetic: append is `before + new`, prepend `new + after`, bridge `before + new + after`.
A cut shares the objects of what it cuts: a segment is a *range* of an object's frames, counted in the order they are
shown. Where that order is also the one they are coded in, as in what we encode, a range may stop anywhere: the packets
after it are left out. With B-frames it may stop only where no frame before needs one after (`Segment.stops`). And a
range can be entered only at a key frame. `Timeline.head` and `Timeline.split_at` say which few frames between a cut
and the next such place have to be encoded again.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from math import lcm
from typing import Any

from longtake.video import VideoFormat


@dataclass(frozen=True, slots=True)
class Stamps:
    """When frames are shown that are not equally long."""

    time_base: Fraction
    pts: tuple[int, ...]
    """Of each frame of an object, ascending from 0; one more says when the last one ends."""

    def __post_init__(self) -> None:
        if self.time_base <= 0 or len(self.pts) < 2 or self.pts[0] or any(b <= a for a, b in pairwise(self.pts)):
            raise ValueError("stamps need a time base above 0, begin at 0 and ascend")

    def of(self, start: int, stop: int) -> Stamps:
        """Those of the frames `[start, stop)`, counted from the first of them."""
        return Stamps(self.time_base, tuple(pts - self.pts[start] for pts in self.pts[start : stop + 1]))

    def to_json(self) -> dict[str, Any]:
        return {"time_base": str(self.time_base), "pts": _packed(self.pts)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Stamps:
        return cls(Fraction(data["time_base"]), _unpacked(data["pts"]))


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound that came with an object's frames, in an object of its own: packets as they came."""

    key: str
    start: Fraction
    """When its first sample is played, in seconds after the first frame of the object it came with; may be below 0."""

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "start": str(self.start)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sound:
        return cls(data["key"], Fraction(data["start"]))


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames `[start, stop)` of one object in the store."""

    owner: str
    """Whose frames these are: a generation's id (not always the one that encoded them: a cut may have to), or
    `upload:<id>`, or `url:<generation>-<end>`."""
    key: str
    start: int
    stop: int
    key_frames: tuple[int, ...]
    """Where the *object* can be entered: ascending frame numbers, the first is 0."""
    stamps: Stamps | None = None
    """When the *object's* frames are shown; None: all are equally long, as the timeline's format says."""
    reorder: int = 0
    """By how many places a frame may be coded ahead of its place in time: 0 without B-frames."""
    stops: tuple[int, ...] = ()
    """With B-frames: before which frames of the *object* its packets can end, ascending."""
    sound: Sound | None = None
    """That of the *object*: what belongs to the segment's frames is heard with them."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a segment needs 0 <= start < stop, got [{self.start}, {self.stop})")
        if not self.key_frames or self.key_frames[0] != 0:
            raise ValueError(f"an object must begin with a key frame, got {self.key_frames[:3]}")

    @property
    def num_frames(self) -> int:
        return self.stop - self.start

    @property
    def is_brought(self) -> bool:
        """A user brought it; no generation made it."""
        return ":" in self.owner

    @property
    def is_entered(self) -> bool:
        """Its first frame is a key frame. Else frames ahead of it are needed to decode it, and are not shown."""
        return self.entry(self.start) == self.start

    def entry(self, frame: int) -> int:
        """The last key frame of the object that is at `frame` or before it."""
        return self.key_frames[bisect_right(self.key_frames, frame) - 1]

    def exit(self, frame: int) -> int:
        """The last place at `frame` or before it where the object's packets can end; 0 where there is none."""
        if not self.reorder:
            return frame
        found = bisect_right(self.stops, frame)
        return self.stops[found - 1] if found else 0

    def seconds(self, num_frames: int, frame_rate: Fraction) -> Fraction:
        """How long its first `num_frames` frames last."""
        if self.stamps is None:
            return num_frames / frame_rate
        pts = self.stamps.pts
        return (pts[self.start + num_frames] - pts[self.start]) * self.stamps.time_base

    def frame_at(self, seconds: Fraction, frame_rate: Fraction) -> int:
        """How many of its frames begin before the place between two frames that is nearest to `seconds`; ties go up."""
        if self.stamps is None:
            return int(seconds * frame_rate + Fraction(1, 2))
        pts = self.stamps.pts
        wanted = pts[self.start] + seconds / self.stamps.time_base
        later = min(bisect_right(pts, wanted), len(pts) - 1)
        nearest = later if pts[later] - wanted <= wanted - pts[later - 1] else later - 1
        return nearest - self.start

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "owner": self.owner,
            "key": self.key,
            "start": self.start,
            "stop": self.stop,
            "key_frames": list(self.key_frames),
        }
        if self.stamps:
            data["stamps"] = self.stamps.to_json()
        if self.reorder:
            data |= {"reorder": self.reorder, "stops": _packed(self.stops)}
        if self.sound:
            data["sound"] = self.sound.to_json()
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Segment:
        return cls(
            data["owner"],
            data["key"],
            data["start"],
            data["stop"],
            tuple(data["key_frames"]),
            Stamps.from_json(data["stamps"]) if "stamps" in data else None,
            data.get("reorder", 0),
            _unpacked(data["stops"]) if "stops" in data else (),
            Sound.from_json(data["sound"]) if "sound" in data else None,
        )


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
                kept.append(replace(segment, stop=stop))
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
                entry = next((k for k in segment.key_frames if inside <= k < segment.stop), segment.stop)
                kept = (replace(segment, start=entry),) if entry < segment.stop else ()
                rest = kept + self.segments[index + 1 :]
                return entry - inside, Timeline(self.format, rest) if rest else None
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


def _packed(numbers: tuple[int, ...]) -> str:
    """Ascending numbers as text: there can be a hundred thousand, and their steps are nearly all alike."""
    steps = array("q", (later - earlier for earlier, later in pairwise((0, *numbers))))
    if sys.byteorder == "big":
        steps.byteswap()
    return b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def _unpacked(text: str) -> tuple[int, ...]:
    steps = array("q", zlib.decompress(b64decode(text)))
    if sys.byteorder == "big":
        steps.byteswap()
    return tuple(accumulate(steps))

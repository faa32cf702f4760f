"""The immutable list of segments that a finished video consists of, and its arithmetic.

Extending is list arithmetic: append is `before + new`, prepend `new + after`, bridge `before + new + after`.
A cut shares the objects of what it cuts: a segment is a *range* of an object's frames. House format has no
B-frames, so a range may stop anywhere (the packets after it are left out), but must start at a key frame;
`Timeline.split_at` says which few frames between a cut and the next key frame have to be encoded again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from longtake.video import VideoFormat


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

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a segment needs 0 <= start < stop, got [{self.start}, {self.stop})")
        if self.start not in self.key_frames:
            raise ValueError(f"a segment must start at a key frame, got {self.start} of {self.key_frames}")

    @property
    def num_frames(self) -> int:
        return self.stop - self.start

    def to_json(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "key": self.key,
            "start": self.start,
            "stop": self.stop,
            "key_frames": list(self.key_frames),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Segment:
        return cls(data["owner"], data["key"], data["start"], data["stop"], tuple(data["key_frames"]))


@dataclass(frozen=True, slots=True)
class Timeline:
    """Segments of one format, in order of time."""

    format: VideoFormat
    segments: tuple[Segment, ...]

    @property
    def num_frames(self) -> int:
        return sum(segment.num_frames for segment in self.segments)

    @property
    def seconds(self) -> Fraction:
        return self.format.seconds(self.num_frames)

    def __add__(self, other: Timeline) -> Timeline:
        if self.format != other.format:
            raise ValueError(f"timelines of two formats can't be joined: {self.format} and {other.format}")
        return Timeline(self.format, self.segments + other.segments)

    def head(self, num_frames: int) -> Timeline:
        """The first `num_frames` frames; no frame is encoded again."""
        if not 0 < num_frames <= self.num_frames:
            raise ValueError(f"a head needs 1 to {self.num_frames} frames, got {num_frames}")
        kept: list[Segment] = []
        for segment in self.segments:
            kept.append(replace(segment, stop=min(segment.stop, segment.start + num_frames)))
            num_frames -= kept[-1].num_frames
            if not num_frames:
                break
        return Timeline(self.format, tuple(kept))

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

    def to_json(self) -> dict[str, Any]:
        return {"format": self.format.to_json(), "segments": [segment.to_json() for segment in self.segments]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Timeline:
        return cls(
            VideoFormat.from_json(data["format"]),
            tuple(Segment.from_json(entry) for entry in data["segments"]),
        )

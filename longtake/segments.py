"""A stretch of frames in the store, with the times and the sound that are its own.

Frames are counted in the order they are shown. Where that order is also the one they are coded in, as in what we
encode, a range may stop anywhere: the packets after it are left out. With B-frames it may stop only where no frame
before needs one after (`Segment.stops`). And a range can be entered only at a key frame.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

MANY = 32
"""So many key frames are written as packed text: footage of nothing else may have a hundred thousand."""


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
    open_entries: tuple[int, ...] = ()
    """Key frames of the *object* behind which frames are coded that are shown ahead of them and need the group before
    (HEVC's CRA pictures): a segment can begin there too, without those."""
    broken: str = ""
    """What is wrong in the file that a user brought, behind the last frame here; empty where it is whole."""

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

    def next_entry(self, frame: int) -> Segment | None:
        """What can be kept of it from `frame` of the object on; None where it can't be entered there any more."""
        closed, opened = (_next(keys, frame, self.stop) for keys in (self.key_frames, self.open_entries))
        if min(closed, opened) == self.stop:
            return None
        if closed <= opened:
            return replace(self, start=closed)
        return replace(self, start=opened, key_frames=tuple(sorted((*self.key_frames, opened))))

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
            "key_frames": list(self.key_frames) if len(self.key_frames) < MANY else _packed(self.key_frames),
        }
        if self.stamps:
            data["stamps"] = self.stamps.to_json()
        if self.reorder:
            data |= {"reorder": self.reorder, "stops": _packed(self.stops)}
        if self.sound:
            data["sound"] = self.sound.to_json()
        if self.open_entries:
            data["open_entries"] = _packed(self.open_entries)
        if self.broken:
            data["broken"] = self.broken
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Segment:
        return cls(
            data["owner"],
            data["key"],
            data["start"],
            data["stop"],
            _unpacked(given) if isinstance(given := data["key_frames"], str) else tuple(given),
            Stamps.from_json(data["stamps"]) if "stamps" in data else None,
            data.get("reorder", 0),
            _unpacked(data["stops"]) if "stops" in data else (),
            Sound.from_json(data["sound"]) if "sound" in data else None,
            _unpacked(data["open_entries"]) if "open_entries" in data else (),
            data.get("broken", ""),
        )


def _next(numbers: tuple[int, ...], number: int, stop: int) -> int:
    """The first of ascending numbers from `number` on; `stop` where there is none below that."""
    at = bisect_left(numbers, number)
    return min(numbers[at], stop) if at < len(numbers) else stop


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

"""What stands at the ends of a shot, and what the parts of a video are called in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from longtake.media.seams import Seam
from longtake.store import Store
from longtake.timeline import Timeline
from longtake.video import Still


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


Source = Still | Footage | None


def timeline_in(source: Source) -> Timeline | None:
    """The timeline of footage; None for all else."""
    return source.timeline if isinstance(source, Footage) else None


Tell = Callable[[str, float], None]
"""Told as long work goes on: the stage, and how much of it is done, 0 to 1. Raises Cancelled where it is to stop."""


Look = Callable[[], None]
"""Called again and again where there is no progress to tell of; raises as `Tell` does."""


def segment_key(id: str, take: int = 0) -> str:
    """Where a take's new part is kept; takes count from 0."""
    return f"segments/{id}-take{take + 1}.mp4" if take else f"segments/{id}.mp4"


def sound_key(id: str, take: int = 0) -> str:
    """Where the sound of a take's new part is kept, where it has any."""
    return f"{segment_key(id, take).removesuffix('.mp4')}-sound.mp4"


def matched_sound_key(id: str, number: int) -> str:
    """Where a sound is kept that was encoded again to match another one, with what else was matched for a bridge."""
    return f"sources/{id}-match/sound-{number}.mp4"


def again_keys(id: str) -> tuple[str, str]:
    """Where the frames at the cuts that had to be encoded again are kept: those of frame0, those of frame1."""
    return f"segments/{id}-tail.mp4", f"segments/{id}-lead.mp4"


@contextmanager
def work_file(store: Store, key: str) -> Iterator[Path]:
    """Where an object is made before it is one; nothing is left there."""
    path = (store.work_folder or Path(gettempdir())) / f"{time.monotonic_ns()}-{Path(key).name}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)

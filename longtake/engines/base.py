"""What an engine is: something that renders the frames of one shot.

An engine never sees files, addresses, HTTP or the database. It is handed frames, and yields frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from longtake.frames import Frames, Plane
from longtake.planning import Capabilities
from longtake.video import Cell, VideoFormat

__all__ = ["Capabilities", "Engine", "Frames", "Plane", "Report", "Shot"]


@dataclass(frozen=True, slots=True)
class Shot:
    """What an engine is asked to render: `num_frames` new frames between two ends.

    `before` and `after` are planar 4:2:0 and of the shot's size. A still (one frame) is part of what is rendered:
    the first new frame is `before`, the last is `after`. A clip is context: the first new frame is the one that
    comes next after `before[-1]`, the last the one that comes just ahead of `after[0]`.
    """

    cell: Cell
    format: VideoFormat
    num_frames: int
    before: Frames | None = None
    after: Frames | None = None
    prompt: str = ""
    negative_prompt: str = ""
    concepts: tuple[str, ...] = ()
    seed: int = 0
    loop: bool = False
    """The frame that comes after the last one is the first one. Planning gives it an `after` end wherever the
    video has a first frame already; an engine has to close the circle by itself only from nothing to nothing."""
    start: int = 0
    """So many of its frames are there already: those from this one on are asked for, the same as without."""

    def __post_init__(self) -> None:
        for name, kind, frames in (
            ("before", self.cell.before, self.before),
            ("after", self.cell.after, self.after),
        ):
            if (kind == "nothing") != (frames is None):
                raise ValueError(f"{name} is {kind}, but its frames are {frames}")
            if frames is None:
                continue
            if kind == "still" and frames.num_frames != 1:
                raise ValueError(f"{name} is a still: one frame, got {frames.num_frames}")
            if frames.is_rgb or (frames.width, frames.height) != (self.format.width, self.format.height):
                raise ValueError(f"{name} must be yuv420p of {self.format}, got {frames}")
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be 1 or more, got {self.num_frames}")
        if not 0 <= self.start < self.num_frames:
            raise ValueError(f"start must be 0 to {self.num_frames - 1}, got {self.start}")


class Report(Protocol):
    """The one arrow back: progress and remarks out, a cancel in."""

    def progress(self, num_frames: int) -> None:
        """`num_frames` of the shot are there so far, with those ahead of its `start`. Raises Cancelled where the order
        was taken back."""

    def note(self, text: str) -> None:
        """One sentence for the answer: what was done otherwise than asked, or can't be known by this engine."""


class Engine(Protocol):
    """Renders shots. One instance serves one process; where calls must not overlap, the engine itself sees to it."""

    capabilities: Capabilities

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        """Yields the frames `[shot.start, shot.num_frames)`, a batch at a time, each batch as soon as it is ready.

        A batch is never written to again, nor is what it is a view of: it is encoded while the next one is made.
        Deterministic for a shot. Calls `report.progress` at least twice a second. Who closes the generator, or lets
        `report.progress` raise, ends the work.
        """
        ...

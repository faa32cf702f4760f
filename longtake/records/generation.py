"""A generation: an order being carried out, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from longtake.orders import Order
from longtake.planning import Extent
from longtake.timeline import Timeline

State = Literal["queued", "dreaming", "completed", "failed"]
FailureKind = Literal["caller", "world", "fault", "cancelled"]
MOVES: dict[State, frozenset[State]] = {
    "queued": frozenset({"dreaming", "failed", "queued"}),  # begun anew, as another attempt
    "dreaming": frozenset({"completed", "failed", "queued"}),
    "completed": frozenset(),
    "failed": frozenset({"queued"}),  # a retry
}
ENDED: tuple[State, ...] = ("completed", "failed")
UNENDED: tuple[State, ...] = tuple(state for state in MOVES if state not in ENDED)
"""What queries ask for: an index finds a state, and not what is no other one."""


class Turn(NamedTuple):
    """An attempt at a generation, as it is handed to the workflows."""

    id: str
    attempt: int
    engine: str
    account: str
    priority: int
    """`Order.priority`: the greater goes first, among those of its account."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a completed generation holds."""

    timeline: Timeline
    new_start: int
    """The frame of the timeline at which the new part begins."""
    new_frames: int
    video_key: str
    segment_key: str
    image_key: str
    num_bytes: int
    seams: tuple[dict[str, Any], ...]
    """Each as `media.seams.Seam.to_json` gives it."""
    notes: tuple[str, ...]
    timings: dict[str, float] = field(hash=False)
    """Seconds that each step took."""
    preview: bool = False
    """True where no source picture and no model stand behind the new part."""
    reversal: float | None = None
    """How much of what moves in the new part runs backwards, 0 to 1; None where no footage says what forwards is."""
    takes: tuple[dict[str, Any], ...] | None = None
    """Each as `takes.Take.to_json` gives it; None in results from before there were takes."""
    converted: tuple[str, ...] = ()
    """What of the videos that were brought along could not be kept as it was."""
    sound: dict[str, Any] | None = None
    """What is under the new part, as `joining.Heard.figures` gives it; None in results from before there was any."""

    def to_json(self) -> dict[str, Any]:
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        takes = None if self.takes is None else list(self.takes)
        lists = {
            "seams": list(self.seams),
            "notes": list(self.notes),
            "takes": takes,
            "converted": list(self.converted),
        }
        return {**data, "timeline": self.timeline.to_json(), **lists}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        takes = data.get("takes")
        return cls(
            **{
                **data,
                "timeline": Timeline.from_json(data["timeline"]),
                "seams": tuple(data["seams"]),
                "notes": tuple(data["notes"]),
                "takes": None if takes is None else tuple(takes),
                "converted": tuple(data.get("converted", ())),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The record of an order being carried out, and its result. Times are Unix seconds."""

    id: str
    account: str
    key_id: str
    wire: str
    """The protocol it came by."""
    request: dict[str, Any] = field(hash=False)
    """The create body with its defaults filled in, as that protocol shows it."""
    order: Order
    engine: str
    credits: float
    state: State = "queued"
    stage: str = "queued"
    progress: float = 0.0
    attempt: int = 1
    failure_reason: str | None = None
    failure_kind: FailureKind | None = None
    created_at: float
    updated_at: float
    started_at: float | None = None
    ended_at: float | None = None
    extent: Extent | None = None
    """How long it is or will be; None until the video that it extends is fetched."""
    result: Result | None = None
    base_url: str = ""
    """Where the client reached us when it asked, without a slash at its end: what is told later points there."""
    trace: str | None = None
    """The `traceparent` of the create request (W3C Trace Context)."""
    parents: tuple[tuple[str, str], ...] = ()
    """`(end, id)` of the generations that it extends; end is frame0 or frame1."""

    @property
    def turn(self) -> Turn:
        return Turn(self.id, self.attempt, self.engine, self.account, self.order.priority)

"""What OpenAI's video protocol answers."""

from __future__ import annotations

import re
import uuid
from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel

from longtake.errors import UnknownError
from longtake.records import Generation

STATUSES: dict[str, Literal["queued", "in_progress", "completed", "failed"]] = {
    "queued": "queued",
    "dreaming": "in_progress",
    "completed": "completed",
    "failed": "failed",
}
CODES = {"caller": "invalid_request", "world": "unavailable", "cancelled": "cancelled", "fault": "server_error"}
"""Of what a generation failed."""
PREFIX = "video_"
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMED = re.compile(f"generation (?P<id>{UUID.pattern})")
LEAST_POLL_MS, FIRST_POLL_MS, MOST_POLL_MS = 250, 1000, 5000

POLL_DOC: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The video",
        "headers": {
            "openai-poll-after-ms": {"description": "While it is being made", "schema": {"type": "integer"}},
        },
    }
}
_BYTES = {
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("video/mp4", "image/webp", "image/jpeg")
    }
}
CONTENT_DOC: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", **_BYTES},
    206: {"description": "The part of it that was asked for", **_BYTES},
    304: {"description": "The client has it already"},
    416: {"description": "The range lies outside of the file"},
}


class VideoError(BaseModel):
    code: str
    message: str


class VideoAnswer(BaseModel):
    """A video, being made or made. Times are Unix seconds."""

    id: str
    object: Literal["video"] = "video"
    created_at: int
    completed_at: int | None
    expires_at: int | None = None
    """Null: it is kept until it is deleted."""
    status: Literal["queued", "in_progress", "completed", "failed"]
    model: str
    progress: int
    """0 to 100."""
    prompt: str | None
    seconds: str
    """Of the whole video: of an extension, what it extends and the new part together."""
    size: str
    remixed_from_video_id: str | None
    error: VideoError | None
    notes: list[str]
    """Ours: what was done otherwise than asked."""
    preview: bool
    """Ours: true where no source picture and no model stand behind the new part."""


class VideosAnswer(BaseModel):
    object: Literal["list"] = "list"
    data: list[VideoAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedAnswer(BaseModel):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    error: ErrorBody


def video_answer(generation: Generation) -> VideoAnswer:
    """The generation as this protocol shows it, whatever protocol it came by."""
    seconds, (width, height) = _seconds_and_size(generation)
    done = generation.state == "completed"
    mine = generation.request if generation.wire == "openai" else {}
    error = None
    if generation.state == "failed":
        code, reason = CODES[generation.failure_kind or "fault"], in_its_words(generation.failure_reason or "failed")
        error = VideoError(code=code, message=reason)
    return VideoAnswer(
        id=video_id(generation.id),
        created_at=int(generation.created_at),
        completed_at=int(generation.ended_at) if done and generation.ended_at else None,
        status=STATUSES[generation.state],
        model=generation.order.model,
        progress=100 if done else min(99, int(generation.progress * 100)),
        prompt=generation.order.prompt or None,
        seconds=f"{round(float(seconds), 3):g}",
        size=f"{width}x{height}",
        remixed_from_video_id=mine.get("remixed_from_video_id"),
        error=error,
        notes=list(generation.result.notes) if generation.result else [],
        preview=bool(generation.result and generation.result.preview),
    )


def _seconds_and_size(generation: Generation) -> tuple[Fraction, tuple[int, int]]:
    """As it is, or will be as far as that is known: a video at an address has to be fetched first."""
    order, extent = generation.order, generation.extent
    if generation.result:
        made = generation.result.timeline
        return made.seconds, (made.format.width, made.format.height)
    if extent:
        return extent.format.seconds(extent.num_frames), (extent.format.width, extent.format.height)
    brought = generation.request.get("video") if generation.wire == "openai" else None
    if isinstance(brought, dict) and "seconds" in brought:
        return order.seconds + Fraction(str(brought["seconds"])), (brought["width"], brought["height"])
    wide, high = order.aspect_ratio
    long = round(order.short_side * Fraction(max(wide, high), min(wide, high)) / 2) * 2
    return order.seconds, (long, order.short_side) if wide >= high else (order.short_side, long)


def poll_after_ms(generation: Generation, now: float) -> int | None:
    """When it is worth asking again: in half of what is left, by its progress so far. None: it has ended."""
    if generation.state in ("completed", "failed"):
        return None
    if not generation.started_at or generation.progress < 0.02:
        return FIRST_POLL_MS
    left = (now - generation.started_at) * (1 / generation.progress - 1)
    return int(min(MOST_POLL_MS, max(LEAST_POLL_MS, 500 * left)))


def video_id(id: str) -> str:
    """`755f9bbb-d99b-…` → `video_755f9bbbd99b…`."""
    return PREFIX + id.replace("-", "")


def generation_id(id: str, field: str | None = None) -> str:
    """What `video_id` was made of; the generation's own id stands for itself. Raises UnknownError for any other."""
    if re.fullmatch(f"{PREFIX}[0-9a-f]{{32}}", id):
        return str(uuid.UUID(id.removeprefix(PREFIX)))
    if UUID.fullmatch(id):
        return id
    raise UnknownError(f"there is no video {id[:80]}", field=field)


def in_its_words(message: str) -> str:
    """A message of ours with this protocol's names for generations."""
    return NAMED.sub(lambda match: f"video {video_id(match['id'])}", message)

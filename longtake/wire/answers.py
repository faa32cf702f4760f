"""The generation object that several wires show, as a pydantic model (for the OpenAPI document) and from a record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from longtake.orders import RESOLUTIONS
from longtake.records import Generation
from longtake.wire.fields import aspect_ratio_of
from longtake.wire.links import Links

RANKS = {"queued": 0, "dreaming": 1, "completed": 2, "failed": 3}
"""States in the order in which a waiting client sees them."""


class Assets(BaseModel):
    """`video` is the whole video, `segment` the new part alone, `image` a still from it."""

    video: str
    image: str
    progress_video: None = None
    segment: str


class VideoAnswer(BaseModel):
    url: str
    width: int
    height: int
    duration: float


class GenerationAnswer(BaseModel):
    """One object that every published client can read."""

    id: str
    generation_type: Literal["video"] = "video"
    state: Literal["queued", "dreaming", "completed", "failed"]
    status: Literal["queued", "dreaming", "completed", "failed"]
    failure_reason: str | None
    created_at: str
    model: str
    version: Literal["v2"] = "v2"
    assets: Assets | None
    video: VideoAnswer | None
    video_url: str | None
    request: dict[str, Any]
    notes: list[str]
    """What was done otherwise than asked."""
    preview: bool
    """True where no source picture and no model stand behind the new part."""


def timestamp(seconds: float) -> str:
    """Unix seconds → `2026-01-01T12:00:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def generation_fields(generation: Generation, links: Links, base_url: str) -> dict[str, Any]:
    """The fields of `GenerationAnswer`."""
    result, assets, video = generation.result, None, None
    if result is not None:
        assets = Assets(
            video=links.url(result.video_key, base_url),
            image=links.url(result.image_key, base_url),
            segment=links.url(result.segment_key, base_url),
        )
        made = result.timeline.format
        video = VideoAnswer(
            url=assets.video, width=made.width, height=made.height, duration=float(result.timeline.seconds)
        )
    return {
        "id": generation.id,
        "state": generation.state,
        "status": generation.state,
        "failure_reason": generation.failure_reason,
        "created_at": timestamp(generation.created_at),
        "model": generation.order.model,
        "assets": assets,
        "video": video,
        "video_url": video.url if video else None,
        "request": _request(generation),
        "notes": list(result.notes) if result else [],
        "preview": bool(result and result.preview),
    }


def generation_answer(generation: Generation, links: Links, base_url: str) -> GenerationAnswer:
    return GenerationAnswer(**generation_fields(generation, links, base_url))


def _request(generation: Generation) -> dict[str, Any]:
    """As asked; of an extension with the size and the frame rate that are used, which are its parent's."""
    request, extent = dict(generation.request), generation.extent
    if extent is None or "clip" not in generation.order.cell:
        return request
    short = min(extent.format.width, extent.format.height)
    names = {pixels: name for name, pixels in RESOLUTIONS.items()}
    used: dict[str, Any] = {"aspect_ratio": aspect_ratio_of(extent), "resolution": names.get(short, f"{short}p")}
    if "fps" in request:  # the published protocol has no such field
        used["fps"] = float(extent.format.frame_rate)
    return {**request, **used}

"""What Luma Dream Machine's protocol answers, as pydantic models and from records."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel

from longtake.records import Generation
from longtake.wire.answers import generation_fields
from longtake.wire.links import Links

CENTS_PER_CREDIT = 1.0
"""US cents that a credit is shown as. A credit renders one second of new video, so that a cent does."""
UNLIMITED_CENTS = 1_000_000_000.0
"""The balance of a key without a limit: the protocol has no word for "none"."""


class LumaAssets(BaseModel):
    """`video` is the whole video, `image` a still from it."""

    video: str
    image: str
    progress_video: None = None


class LumaAnswer(BaseModel):
    """The generation as Luma's clients read it. `notes` is ours: what was done otherwise than asked."""

    id: str
    generation_type: Literal["video"] = "video"
    state: Literal["queued", "dreaming", "completed", "failed"]
    failure_reason: str | None
    created_at: str
    assets: LumaAssets | None
    model: str
    request: dict[str, Any]
    notes: list[str]


class LumaPage(BaseModel):
    """`count` generations, newest first."""

    generations: list[LumaAnswer]
    count: int
    limit: int
    offset: int
    has_more: bool


class CreditsAnswer(BaseModel):
    """In US cents."""

    credit_balance: float


class PingAnswer(BaseModel):
    message: Literal["pong"] = "pong"


class LumaError(BaseModel):
    detail: str


def luma_answer(generation: Generation, links: Links, base_url: str) -> LumaAnswer:
    """The generation object, which callbacks carry too."""
    shown, edit = generation_fields(generation, links, base_url), generation.order.edit
    assets, request = shown["assets"], generation.request if edit else shown["request"]
    return LumaAnswer(
        **{name: shown[name] for name in ("id", "state", "created_at", "model", "notes")},
        failure_reason=_reason(generation),
        assets=LumaAssets(video=assets.video, image=assets.image) if assets else None,
        request={**request, "generation_type": f"{edit.kind}_video" if edit else "video"},
    )


def _reason(generation: Generation) -> str | None:
    """Why it failed; what an edit works on is called as the client called it."""
    reason, edit = generation.failure_reason, generation.order.edit
    if reason is None or edit is None:
        return reason
    media = generation.request.get("media") or {}
    name = "id" if edit.kind == "upscale" else "media.url" if media.get("url") else "media.id"
    return re.sub(r"\bkeyframes\.frame0\b(\.(url|id|upload)\b)?", name, reason)

"""What each protocol posts to a client's own address, from the record of a generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longtake.records import Generation
from longtake.store import Store
from longtake.watching import is_watchable
from longtake.webhooks import Body
from longtake.wire.answers import generation_answer
from longtake.wire.links import Links
from longtake.wire.luma_answers import luma_answer
from longtake.wire.native_answers import NativeAnswer, native_fields
from longtake.wire.openai_answers import video_id


def bodies(links: Links, store: Store, public_url: str | None) -> Mapping[str, Body]:
    """For each protocol's name. Addresses in them begin as in the answers: with `public_url`, or where it was asked."""

    def base_url(generation: Generation) -> str:
        return (public_url or generation.base_url).rstrip("/")

    def seeds(generation: Generation, _: str) -> dict[str, Any]:
        return generation_answer(generation, links, base_url(generation)).model_dump(mode="json")

    def luma(generation: Generation, _: str) -> dict[str, Any]:
        return luma_answer(generation, links, base_url(generation)).model_dump(mode="json")

    def native(generation: Generation, _: str) -> dict[str, Any]:
        watchable = is_watchable(generation, store)
        fields = native_fields(generation, links, base_url(generation), watchable=watchable)
        return NativeAnswer(**fields).model_dump(mode="json")

    def openai(generation: Generation, message_id: str) -> dict[str, Any]:
        return {
            "id": message_id.replace("msg_", "evt_"),
            "object": "event",
            "created_at": int(generation.ended_at or generation.updated_at),
            "type": f"video.{generation.state}",
            "data": {"id": video_id(generation.id)},
        }

    return {"aimlapi": seeds, "luma": luma, "native": native, "openai": openai}

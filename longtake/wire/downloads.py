"""Finished videos to be saved, as the kind of file that is asked for: our own protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel

from longtake.exports import finished
from longtake.wire.door import BEARER, Caller, Door, in_thread, route_class
from longtake.wire.refusals import refusals, shape

AGAIN_SECONDS = 2
"""What a client is told to wait before it asks again."""
Format = Annotated[
    Literal["mp4", "webm", "gif", "prores"],
    Query(description="What to make of the video. `prores` is a QuickTime file for editing; a GIF has no sound."),
]


class Converting(BaseModel):
    """It takes longer: ask again."""

    state: Literal["converting"] = "converting"
    format: Literal["webm", "gif", "prores"]


def router(door: Door) -> APIRouter:
    """`GET` and `HEAD /api/generations/<id>/download`."""
    downloads = Downloads(door)
    made = APIRouter(route_class=route_class(shape, door), dependencies=[BEARER], tags=["Longtake"])
    again = {"Retry-After": {"description": "In seconds", "schema": {"type": "integer"}}}
    there = {"Location": {"description": "Needs no key, and expires", "schema": {"type": "string", "format": "uri"}}}
    answers: dict[int | str, dict[str, Any]] = {
        202: {"description": "It is being converted: ask again", "model": Converting, "headers": again},
        307: {"description": "The file is there", "headers": there},
        **refusals(400, 401, 404, 409, 429, 503),
    }
    for method in ("GET", "HEAD"):
        made.add_api_route(
            "/api/generations/{id}/download",
            downloads.get,
            methods=[method],
            status_code=307,
            responses=answers,
            response_class=RedirectResponse,
            operation_id=f"{method.lower()}_download",
        )
    return made


class Downloads:
    """The call of the protocol."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._front = door.front

    async def get(self, id: str, key: Caller, request: Request, format: Format = "mp4") -> Response:
        """Where the video is, to be saved. The first to ask for another format than MP4 has it made, and waits."""
        exports = self._front.service.exports
        generation = await in_thread(self._front.service.get, id, key.account)
        made: str | None
        if format == "mp4":
            made = finished(generation).video_key
        else:
            conversion = await in_thread(exports.begin, generation, format)
            await self._door.ended(conversion.key)
            made = exports.key(conversion)
            if made is None:
                body = Converting(format=format).model_dump()
                return JSONResponse(body, 202, headers={"retry-after": str(AGAIN_SECONDS)})
        url = self._front.links.url(made, self._door.base_url(request))
        return RedirectResponse(f"{url}&download=1", headers={"cache-control": "no-store"})

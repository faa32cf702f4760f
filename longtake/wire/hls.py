"""Videos as HLS players fetch them, also while their new part is still rendered: signed addresses, no API key."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from longtake.watching import look_again
from longtake.wire.door import Door, in_thread, route_class
from longtake.wire.links import PLAYLIST
from longtake.wire.refusals import refusals, shape

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
PART_TYPE = "video/mp4"


def router(door: Door) -> APIRouter:
    """`GET` and `HEAD /media/hls/<generation>/<name>`."""
    hls = Hls(door)
    made = APIRouter(route_class=route_class(shape, door, locked=False), tags=["Media"])
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    answers: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The playlist (it grows while the video is rendered), or a part that it names",
            "content": {PLAYLIST_TYPE: {"schema": {"type": "string"}}, PART_TYPE: binary},
        },
        **refusals(400, 403, 404, 503),
    }
    for method in ("GET", "HEAD"):
        made.add_api_route(
            "/media/hls/{id}/{name}",
            hls.get,
            methods=[method],
            responses=answers,
            response_class=Response,
            operation_id=f"{method.lower()}_hls",
        )
    return made


class Hls:
    """Answers players."""

    def __init__(self, door: Door) -> None:
        self._front = door.front

    async def get(
        self,
        id: Annotated[str, Path(max_length=100)],
        name: Annotated[str, Path(max_length=100)],
        expires: Annotated[str, Query(max_length=20)] = "",
        signature: Annotated[str, Query(max_length=100)] = "",
    ) -> Response:
        """A playlist, or a part of the video that it names. The playlist ends (`EXT-X-ENDLIST`) when the video does."""
        left = self._front.links.seconds_left(f"hls/{id}/{name}", expires, signature)
        if left is None:
            raise HTTPException(403, "this address was changed, or has expired: ask for the generation again")
        part, look = None if name == PLAYLIST else name, partial(self._front.service.watch, id)
        watch, data = await in_thread(look_again, look, part, self._front.store)
        # Until it is whole, what follows may change a part: the sound of a new one comes last.
        caching = f"private, max-age={left}" if watch.is_whole else "no-store"
        if name == PLAYLIST:

            def address(part: str) -> str:
                return f"{part}?{self._front.links.query(f'hls/{id}/{part}', expires)}"

            text = await in_thread(watch.playlist, address)
            return Response(text, headers={"cache-control": caching}, media_type=PLAYLIST_TYPE)
        return Response(data, headers={"cache-control": caching}, media_type=PART_TYPE)

"""Stored objects over HTTP: signed addresses, byte ranges, entity tags."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from longtake.errors import UnknownError
from longtake.store import Store
from longtake.wire.door import Door, in_thread, route_class
from longtake.wire.links import Links
from longtake.wire.refusals import refusals, shape

CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
UNKNOWN_TYPE = "application/octet-stream"
RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")
OptionalHeader = Annotated[str | None, Header(max_length=1000)]


def router(door: Door) -> APIRouter:
    """`GET` and `HEAD /media/<key>`; no API key is asked for."""
    media = Media(door.front.store, door.front.links)
    made = APIRouter(route_class=route_class(shape, door, locked=False), tags=["Media"])
    body = {
        "content": {
            UNKNOWN_TYPE: {"schema": {"type": "string", "format": "binary"}},
            **{kind: {} for kind in set(CONTENT_TYPES.values())},
        }
    }
    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "The object", **body},
        206: {"description": "The part of it that was asked for", **body},
        304: {"description": "The client has it already"},
        416: {"description": "The range lies outside of the object"},
        **refusals(400, 403, 404, 503),
    }
    for method, call in (("GET", media.get), ("HEAD", media.head)):
        made.add_api_route(
            "/media/{key:path}", call, methods=[method], responses=answers, response_class=StreamingResponse
        )
    return made


class Media:
    """Reads objects for whoever has a signed address."""

    def __init__(self, store: Store, links: Links) -> None:
        self._store = store
        self._links = links

    async def get(
        self,
        key: str,
        request: Request,
        expires: Annotated[str, Query(max_length=20)] = "",
        signature: Annotated[str, Query(max_length=100)] = "",
        download: Annotated[Literal["0", "1"], Query(description="1: to be saved, not shown")] = "0",
        range: OptionalHeader = None,
    ) -> Response:
        """A video, a segment of one, or an image."""
        left = self._links.seconds_left(key, expires, signature)
        if left is None:
            raise HTTPException(403, "this address was changed, or has expired: ask for the generation again")
        size = await in_thread(self._store.size, key)
        if size is None:
            raise UnknownError("there is no such object; it may have been deleted")
        tag = f'"{hashlib.sha256(f"{key} {size}".encode()).hexdigest()[:32]}"'  # objects never change
        headers = {"etag": tag, "accept-ranges": "bytes", "cache-control": f"private, max-age={left}"}
        if _names(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        if download == "1":
            id = key.split("/")[1].partition(".")[0]  # of the generation; older objects have it in their last name
            headers["content-disposition"] = f'attachment; filename="longtake-{id}{PurePosixPath(key).suffix}"'
        condition = request.headers.get("if-range")
        part = byte_range(range, size) if range and condition in (None, tag) else None
        start, stop = part or (0, size)
        if part and start >= stop:
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
        headers["content-length"] = str(stop - start)
        if part:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
        status = 206 if part else 200
        kind = await in_thread(self._content_type, key, size)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=kind)
        return StreamingResponse(self._store.stream(key, start, stop), status, headers=headers, media_type=kind)

    async def head(
        self,
        key: str,
        request: Request,
        expires: Annotated[str, Query(max_length=20)] = "",
        signature: Annotated[str, Query(max_length=100)] = "",
        range: OptionalHeader = None,
    ) -> Response:
        """What `GET` would answer, without the bytes."""
        return await self.get(key, request, expires, signature, "0", range)

    def _content_type(self, key: str, size: int) -> str:
        known = CONTENT_TYPES.get(key[key.rfind(".") :])
        if known:
            return known
        head = b"".join(self._store.stream(key, 0, min(size, 12)))
        if head[4:8] == b"ftyp":
            return "video/mp4"
        return "video/webm" if head[:4] == b"\x1aE\xdf\xa3" else UNKNOWN_TYPE


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes `[start, stop)` that a Range header asks for (RFC 9110, 14.1.2); empty where there are none.

    None for other units, several ranges and what is not a range: they are passed over, as the RFC allows.
    """
    match = RANGE.fullmatch(header.strip())
    if match is None or not (match["first"] or match["last"]):
        return None
    first, last = match["first"], match["last"]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _names(if_none_match: str, tag: str) -> bool:
    named = [entry.strip().removeprefix("W/") for entry in if_none_match.split(",")]
    return "*" in named or tag in named

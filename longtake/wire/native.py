"""Our own protocol, below `/api`: for what no public protocol has. The studio and the command line use only this.

What clients bring comes in by `resumable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from longtake.records import Generation
from longtake.watching import Watchable
from longtake.wire.answers import RANKS
from longtake.wire.composed import JSON, Composed, as_json
from longtake.wire.door import BEARER, Caller, Door, in_thread, route_class
from longtake.wire.events import event_stream
from longtake.wire.native_answers import Allowance, NativeAnswer, NativeDetail, NativePage, NativeUsage, native_fields
from longtake.wire.native_models import NativeBody
from longtake.wire.refusals import refusals, shape

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern="^[0-9]{1,15}$", description="Go on after this event."),
]
EVENTS_DOC: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a call with a key may answer but success."""
    return refusals(401, 429, 503, *statuses)


def router(door: Door) -> APIRouter:
    """All routes of the protocol but uploads."""
    wire = Native(door)
    made = APIRouter(route_class=route_class(shape, door), dependencies=[BEARER], tags=["Longtake"])
    add, all_of, one = made.add_api_route, "/api/generations", "/api/generations/{id}"
    detail: dict[str, Any] = {"response_model": NativeDetail}
    add(all_of, wire.create, methods=["POST"], status_code=201, responses=answers(400, 403, 404, 409, 413), **detail)
    add(all_of, wire.page, methods=["GET"], responses=answers(400), response_model=NativePage)
    add(one, wire.read, methods=["GET"], responses=answers(400, 404), **detail)
    add(one, wire.delete, methods=["DELETE"], status_code=204, responses=answers(404))
    add(one + "/cancel", wire.cancel, methods=["POST"], responses=answers(404, 409), **detail)
    add(one + "/retry", wire.retry, methods=["POST"], responses=answers(403, 404, 409), **detail)
    gone: dict[int | str, dict[str, Any]] = {204: {"description": "It has ended, and no event is left to send"}}
    one_stream, stream = EVENTS_DOC | gone | answers(400, 404), EVENTS_DOC | answers(400)
    add(one + "/events", wire.events_of_one, methods=["GET"], responses=one_stream, response_class=StreamingResponse)
    add("/api/usage", wire.usage, methods=["GET"], responses=answers())
    add("/api/events", wire.events, methods=["GET"], responses=stream, response_class=StreamingResponse)
    return made


class Native:
    """The calls of the protocol."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._service = door.front.service
        self._links = door.front.links
        self._is_watchable = Watchable(door.front.store)

    async def create(self, body: NativeBody, key: Caller, request: Request) -> Response:
        """Make a video, or make one longer."""
        base_url = self._door.base_url(request)
        order = body.order(self._links, base_url)
        made = await self._door.submit(request, key, order, wire="native", body=body.request())
        return (await in_thread(self._composed, made, base_url)).response(201)

    async def page(
        self,
        key: Caller,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    ) -> Response:
        """Generations, newest first."""
        base_url = self._door.base_url(request)

        def look() -> bytes:
            found, count = self._service.page(key.account, limit=limit, offset=offset)
            generations = [NativeAnswer(**self._fields(one, base_url)) for one in found]
            has_more = offset + len(found) < count
            page = NativePage(generations=generations, count=count, limit=limit, offset=offset, has_more=has_more)
            return as_json(page)

        return Response(await in_thread(look), media_type=JSON)

    async def read(
        self,
        id: str,
        key: Caller,
        request: Request,
        wait: Annotated[Literal["dreaming", "completed"] | None, Query(description="Wait for this state.")] = None,
        timeout: Annotated[float, Query(ge=0, le=30, description="The longest wait, in seconds.")] = 30.0,
    ) -> Response:
        """One generation, now or when it is in the state named or a later one."""
        base_url = self._door.base_url(request)

        def look() -> Composed:
            return self._composed(self._service.get(id, key.account), base_url)

        if wait is None:
            return (await in_thread(look)).response()
        rank, seconds = RANKS[wait], min(timeout, self._door.front.wait_seconds)
        found = await self._door.waiting.until(
            ("native", key.account, base_url, id),
            [id],
            partial(in_thread, look),
            lambda one: one.rank >= rank,
            seconds=seconds,
        )
        return found.response()

    async def delete(self, id: str, key: Caller) -> Response:
        """Remove it; cancel it where it still runs."""
        await in_thread(self._service.delete, id, key.account)
        return Response(status_code=204)

    async def cancel(self, id: str, key: Caller, request: Request) -> Response:
        """Take the order back while it runs."""
        base_url = self._door.base_url(request)
        found = await in_thread(lambda: self._composed(self._service.cancel(id, key.account), base_url))
        return found.response()

    async def retry(self, id: str, key: Caller, request: Request) -> Response:
        """Try a failed one again."""
        base_url = self._door.base_url(request)
        found = await in_thread(lambda: self._composed(self._service.retry(id, key), base_url))
        return found.response()

    async def usage(self, key: Caller) -> NativeUsage:
        """What the key may use, and what is left of it."""
        used, limits = await in_thread(self._door.front.keys.usage, key.id), key.limits
        return NativeUsage(
            credits=Allowance.of(key.credits, used.credits),
            generations_at_once=Allowance.of(limits.generations_at_once, used.generations_at_once),
            seconds_per_day=Allowance.of(limits.seconds_per_day, used.seconds_per_day),
            requests_per_minute=Allowance.with_left(limits.requests_per_minute, await self._door.rates.room(key)),
        )

    async def events_of_one(self, id: str, key: Caller, last_event_id: LastEventId = None) -> Response:
        """What happens to one generation, as it happens; ends when it ends."""
        last = int(last_event_id) if last_event_id else None
        found = await in_thread(self._service.get, id, key.account)
        if last is not None and found.state in ("completed", "failed"):
            left = await in_thread(self._door.front.changes.after, last, generation_id=id, limit=1)
            if not left:
                return Response(status_code=204)  # this tells an EventSource not to come again
        return self._stream(key.account, id, last)

    async def events(self, key: Caller, last_event_id: LastEventId = None) -> Response:
        """What happens to all generations, as it happens."""
        return self._stream(key.account, None, int(last_event_id) if last_event_id else None)

    def _composed(self, generation: Generation, base_url: str) -> Composed:
        children = self._service.children(generation.id)
        return Composed.of([generation], NativeDetail(**self._fields(generation, base_url), children=children))

    def _fields(self, generation: Generation, base_url: str) -> dict[str, Any]:
        return native_fields(generation, self._links, base_url, watchable=self._is_watchable(generation))

    def _stream(self, account: str, id: str | None, last: int | None) -> StreamingResponse:
        waiting, changes = self._door.waiting, self._door.front.changes
        stream: AsyncIterator[bytes] = event_stream(changes, waiting, account=account, id=id, last=last)
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

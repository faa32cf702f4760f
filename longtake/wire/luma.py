"""Luma Dream Machine's protocol: the official `lumaai` clients work after changing their base URL and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse, Response

from longtake.errors import CallerError, OrderError
from longtake.orders import Order
from longtake.records import Create, Generation, Key
from longtake.wire.creates import create_of
from longtake.wire.door import BEARER, Caller, Door, in_thread, route_class
from longtake.wire.luma_answers import (
    CENTS_PER_CREDIT,
    UNLIMITED_CENTS,
    CreditsAnswer,
    LumaAnswer,
    LumaError,
    LumaPage,
    PingAnswer,
    luma_answer,
)
from longtake.wire.luma_models import TEXTS, CreateBody, ReframeBody, UpscaleBody, camera_words, moves_named
from longtake.wire.problems import TOO_MANY, Problem

ROOT = "/dream-machine/v1"
AnyBody = Annotated[dict[str, Any] | None, Body()]


def shape(_request: Request, problem: Problem) -> JSONResponse:
    """The protocol's error object."""
    parts = [
        text if field == "body" or text in TEXTS or text.startswith(f"{field} ") else f"{field}: {text}"
        for field, text in problem.errors
    ]
    return JSONResponse({"detail": "; ".join(parts) or problem.message}, problem.status, headers=problem.headers)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: what a call may answer but success."""
    return {status: {"model": LumaError, **TOO_MANY.get(status, {})} for status in (401, 429, 503, *statuses)}


def router(door: Door) -> APIRouter:
    """All routes of the protocol."""
    wire = Luma(door)
    made = APIRouter(
        prefix=ROOT, route_class=route_class(shape, door), dependencies=[BEARER], tags=["Luma Dream Machine"]
    )
    add, creates = made.add_api_route, refusals(400, 403, 404, 409, 413)
    add("/generations/concepts/list", wire.concepts, methods=["GET"], responses=refusals())
    add("/generations/camera_motion/list", wire.camera_motions, methods=["GET"], responses=refusals())
    for path in ("/generations", "/generations/video"):
        add(path, wire.create, methods=["POST"], status_code=201, responses=creates)
    add("/generations", wire.page, methods=["GET"], responses=refusals(400))
    add("/generations/video/reframe", wire.reframe, methods=["POST"], status_code=201, responses=creates)
    for path, refuse in (
        ("/generations/video/modify", wire.modify),
        ("/generations/image", wire.image),
        ("/generations/image/reframe", wire.reframe_image),
    ):
        add(path, refuse, methods=["POST"], status_code=201, response_model=LumaAnswer, responses=refusals(400, 413))
    add("/generations/{id}", wire.read, methods=["GET"], responses=refusals(404))
    add("/generations/{id}", wire.delete, methods=["DELETE"], status_code=204, responses=refusals(404))
    add("/generations/{id}/upscale", wire.upscale, methods=["POST"], responses=creates)
    audio = refusals(400, 404, 413)
    add("/generations/{id}/audio", wire.audio, methods=["POST"], response_model=LumaAnswer, responses=audio)
    add("/credits", wire.credits, methods=["GET"], responses=refusals())
    add("/ping", wire.ping, methods=["GET"], responses=refusals())
    return made


class Luma:
    """The calls of the protocol."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._service = door.front.service
        self._links = door.front.links

    async def create(self, body: CreateBody, key: Caller, request: Request) -> LumaAnswer:
        """Make a video: from the prompt, from images, or longer than it was."""
        order = body.order(self._links, self._door.base_url(request))
        able = self._service.capabilities(order.model).concepts
        if not order.concepts and order.prompt:
            order = replace(order, concepts=moves_named(order.prompt, able))
        return await self._submit(request, key, order, body.request())

    async def read(self, id: str, key: Caller, request: Request) -> LumaAnswer:
        """One generation, as it is now."""
        return self._answer(await in_thread(self._service.get, id, key.account), request)

    async def page(
        self,
        key: Caller,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    ) -> LumaPage:
        """Generations, newest first."""
        found, total = await in_thread(self._service.page, key.account, limit=limit, offset=offset)
        return LumaPage(
            generations=[self._answer(one, request) for one in found],
            count=len(found),
            limit=limit,
            offset=offset,
            has_more=offset + len(found) < total,
        )

    async def delete(self, id: str, key: Caller) -> Response:
        """Remove it; cancel it where it still runs."""
        await in_thread(self._service.delete, id, key.account)
        return Response(status_code=204)

    async def upscale(self, id: str, key: Caller, request: Request, body: UpscaleBody | None = None) -> LumaAnswer:
        """Make a video larger, as another generation."""
        body = body or UpscaleBody()
        create = create_of(request, key, body.request())
        if made := await self._door.repeated(key, create):
            return self._answer(made, request)
        found = await in_thread(self._service.get, id, key.account)
        with _source_called("id"):
            return await self._submit(request, key, body.order(id, found.order.model), body.request(), create)

    async def reframe(self, body: ReframeBody, key: Caller, request: Request) -> LumaAnswer:
        """Give a video another shape."""
        if body.first_frame:
            self._refuse("first_frame")
        with _source_called("media"):
            order = body.order(self._links, self._door.base_url(request))
            return await self._submit(request, key, order, body.request())

    async def audio(self, id: str, key: Caller, _body: AnyBody = None) -> NoReturn:
        """Refused: no engine makes sound from words."""
        await in_thread(self._service.get, id, key.account)
        self._refuse("audio")

    async def modify(self, _key: Caller, _body: AnyBody = None) -> NoReturn:
        """Refused: no engine restyles a video."""
        self._refuse("modify")

    async def image(self, _key: Caller, _body: AnyBody = None) -> NoReturn:
        """Refused: no engine makes single images."""
        self._refuse("image generation")

    async def reframe_image(self, _key: Caller, _body: AnyBody = None) -> NoReturn:
        """Refused: no engine makes single images."""
        self._refuse("image reframe")

    async def concepts(self, _key: Caller) -> list[str]:
        """The camera moves that can be carried out, as `concepts` of a create names them."""
        return self._concepts()

    async def camera_motions(self, _key: Caller) -> list[str]:
        """The camera moves that can be carried out, in the words by which a prompt may ask for them."""
        return [camera_words(concept) for concept in self._concepts()]

    async def credits(self, key: Caller) -> CreditsAnswer:
        """What the key has left, in US cents: a cent renders one second."""
        if key.credits is None:
            return CreditsAnswer(credit_balance=UNLIMITED_CENTS)
        used = await in_thread(self._door.front.keys.usage, key.id)
        return CreditsAnswer(credit_balance=max(0.0, key.credits - used.credits) * CENTS_PER_CREDIT)

    async def ping(self, _key: Caller) -> PingAnswer:
        """Whether the server answers and knows the key."""
        return PingAnswer()

    def _answer(self, generation: Generation, request: Request) -> LumaAnswer:
        return luma_answer(generation, self._links, self._door.base_url(request))

    async def _submit(
        self, request: Request, key: Key, order: Order, body: Mapping[str, Any], create: Create | None = None
    ) -> LumaAnswer:
        made = await self._door.submit(request, key, order, wire="luma", body=body, create=create)
        return self._answer(made, request)

    def _concepts(self) -> list[str]:
        able = [self._service.capabilities(model).concepts for model in self._service.models]
        return sorted(frozenset().union(*able))

    def _refuse(self, what: str) -> NoReturn:
        names = sorted({self._service.capabilities(model).name for model in self._service.models})
        engines = "the engine" if len(names) == 1 else "any of the engines"
        raise OrderError(f"{what} is not supported by {engines} {', '.join(names)}")


@contextmanager
def _source_called(name: str) -> Iterator[None]:
    """What an edit works on has another name in this protocol's calls: errors say `name`."""
    try:
        yield
    except CallerError as error:
        if error.field:
            error.field = re.sub(r"^keyframes\.frame0(\.id)?", name, error.field)
        raise

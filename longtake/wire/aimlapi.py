"""AI/ML API's protocol for Luma's models: the one whose documentation this project started from.

Three generations of it live side by side: `/v2/generate/video/luma-ai`, the universal `/v2/video/generations`, and
the legacy `/luma-ai` (also below `/v1`).
"""

from __future__ import annotations

import re
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from longtake.errors import CallerError, FetchError, OrderError
from longtake.records import Generation, Key
from longtake.wire.aimlapi_models import (
    BalanceAnswer,
    CreateBody,
    ErrorAnswer,
    FileAnswer,
    FileBody,
    LegacyAnswer,
    LegacyBody,
    LegacyEntry,
    LegacyExtendBody,
    ModelAnswer,
    ModelsAnswer,
    UniversalAnswer,
    UniversalBody,
    legacy_answer,
    universal_answer,
    vendor_model,
)
from longtake.wire.answers import RANKS, GenerationAnswer, generation_answer, timestamp
from longtake.wire.composed import Composed
from longtake.wire.door import BEARER, Caller, Door, in_thread, request_id, route_class
from longtake.wire.fields import plain_id
from longtake.wire.problems import TOO_MANY, Problem

UNLIMITED_BALANCE = 1_000_000_000.0
"""What the balance of a key without a limit is shown as: the protocol has no word for "none"."""
LOW_BALANCE = 10.0
MOST_IDS = 100
LEGACY_FIELDS = {
    "prompt": "user_prompt",
    "keyframes.frame0.url": "image_url",
    "keyframes.frame1.url": "image_end_url",
    "keyframes.frame0.id": "id",
}
WAIT_DOC = "Wait, for 30 s at most, until the generation is in this state or a later one."
GenerationId = Annotated[str, Query(min_length=1, max_length=200)]
State = Annotated[str | None, Query(max_length=40, description=WAIT_DOC)]
V2 = "/v2/generate/video/luma-ai"
Show = Callable[[Sequence[Generation]], BaseModel | Sequence[BaseModel]]


def shape(request: Request, problem: Problem) -> JSONResponse:
    """The protocol's error object."""
    bad = problem.status == 400
    body: dict[str, Any] = {
        "requestId": request_id(request),
        "statusCode": problem.status,
        "timestamp": timestamp(time.time()),
        "path": request.url.path[:200],
        "message": f"Body validation error: {problem.message}" if bad else problem.message,
    }
    if bad:
        body["errors"] = [{"field": field, "message": message} for field, message in problem.errors]
    return JSONResponse(body, problem.status, headers=problem.headers)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: what a call may answer but success."""
    return {status: {"model": ErrorAnswer, **TOO_MANY.get(status, {})} for status in (401, 429, 503, *statuses)}


def router(door: Door) -> APIRouter:
    """All routes of the protocol."""
    wire = AimlApi(door)
    made = APIRouter(route_class=route_class(shape, door), dependencies=[BEARER], tags=["AI/ML API"])
    add = made.add_api_route
    creates, reads = refusals(400, 403, 404, 409, 413), refusals(400, 404)
    add(V2 + "/generation", wire.create, methods=["POST"], status_code=201, responses=creates)
    add(V2 + "/generation", wire.read, methods=["GET"], responses=reads, response_model=GenerationAnswer)
    many: dict[str, Any] = {"openapi_extra": _ids("generation_ids"), "response_model": list[GenerationAnswer]}
    add(V2 + "/generations", wire.read_many, methods=["GET"], responses=reads, **many)
    add("/v2/video/generations", wire.create_universal, methods=["POST"], responses=creates)
    add("/v2/video/generations", wire.read_universal, methods=["GET"], responses=reads, response_model=UniversalAnswer)
    several_legacy: dict[str, Any] = {"openapi_extra": _ids("ids"), "response_model": list[LegacyAnswer]}
    for legacy in ("/luma-ai", "/v1/luma-ai"):
        add(legacy + "/generations", wire.create_legacy, methods=["POST"], responses=creates)
        add(legacy + "/generations", wire.list_legacy, methods=["GET"], responses=refusals(400))
        add(legacy + "/generation", wire.read_legacy, methods=["GET"], responses=reads, **several_legacy)
        add(legacy + "/generations/{id:path}/extend", wire.extend_legacy, methods=["POST"], responses=creates)
        add(legacy + "/generations/file-upload", wire.upload, methods=["POST"], responses=refusals(400, 413))
    for path in ("/models", "/v1/models"):
        add(path, wire.models, methods=["GET"], responses=refusals())
    for path in ("/v2/billing", "/v1/billing/balance"):
        add(path, wire.balance, methods=["GET"], responses=refusals())
    return made


class AimlApi:
    """The calls of the protocol."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._service = door.front.service
        self._links = door.front.links

    async def create(self, body: CreateBody, key: Caller, request: Request) -> GenerationAnswer:
        """Make a video: from the prompt, from images, or longer than it was."""
        base_url = self._door.base_url(request)
        order = body.order(self._links, base_url)
        made = await self._door.submit(request, key, order, wire="aimlapi", body=body.request())
        return generation_answer(made, self._links, base_url)

    async def read(
        self,
        key: Caller,
        request: Request,
        generation_id: GenerationId,
        state: State = None,
        status: State = None,
    ) -> Response:
        """One generation, now or when it is in the state named."""
        base_url = self._door.base_url(request)

        def show(found: Sequence[Generation]) -> GenerationAnswer:
            return generation_answer(found[0], self._links, base_url)

        return await self._read(request, [generation_id], key, show, state, status)

    async def read_many(self, key: Caller, request: Request, state: State = None, status: State = None) -> Response:
        """Several, in the order asked for: `generation_ids` repeated, with `[]`, with `[0]`, or parted by commas."""
        base_url = self._door.base_url(request)

        def show(found: Sequence[Generation]) -> list[GenerationAnswer]:
            return [generation_answer(one, self._links, base_url) for one in found]

        return await self._read(request, several(request, "generation_ids"), key, show, state, status)

    async def create_universal(self, body: UniversalBody, key: Caller, request: Request) -> UniversalAnswer:
        """Make a video, in the form that all models share."""
        base_url = self._door.base_url(request)
        order = body.order(self._links, base_url)
        if order.model not in self._service.models:  # named as `models` names them
            names = ", ".join(vendor_model(name) for name in self._service.models)
            raise OrderError(f"model must be one of {names}, got {body.model[:80]}", field="model")
        made = await self._door.submit(request, key, order, wire="aimlapi", body=body.request())
        return universal_answer(made, self._links, base_url)

    async def read_universal(self, key: Caller, request: Request, generation_id: GenerationId) -> Response:
        """One generation, in the form that all models share."""
        base_url = self._door.base_url(request)

        def show(found: Sequence[Generation]) -> UniversalAnswer:
            return universal_answer(found[0], self._links, base_url)

        return await self._read(request, [generation_id], key, show)

    async def create_legacy(self, body: LegacyBody, key: Caller, request: Request) -> LegacyAnswer:
        """Make a video, in the first form."""
        return await self._create_legacy(body, key, request, None)

    async def extend_legacy(self, id: str, body: LegacyExtendBody, key: Caller, request: Request) -> LegacyAnswer:
        """Append to a generation, in the first form."""
        if body.image_url is not None:
            raise OrderError("the extension starts where the video ends: give image_end_url alone", field="image_url")
        return await self._create_legacy(body, key, request, plain_id(id))

    async def list_legacy(
        self,
        key: Caller,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    ) -> list[LegacyEntry]:
        """The newest generations."""
        found, _ = await in_thread(self._service.page, key.account, limit=limit, offset=offset)
        return [LegacyEntry(luma_generation_id=one.id, prompt=one.order.prompt) for one in found]

    async def read_legacy(self, key: Caller, request: Request) -> Response:
        """Several, in the first form: `ids` in any of the spellings of `generation_ids`."""
        base_url = self._door.base_url(request)

        def show(found: Sequence[Generation]) -> list[LegacyAnswer]:
            return [legacy_answer(one, self._links, base_url) for one in found]

        return await self._read(request, several(request, "ids"), key, show)

    async def upload(self, body: FileBody, key: Caller, request: Request) -> list[FileAnswer]:
        """Keep a file from an address, to be named by the address that is answered."""
        folder = self._door.front.store.work_folder or Path(tempfile.gettempdir())
        path = folder / f"fetch-{uuid.uuid4()}"
        try:
            await self._door.fetch(body.url, path)
            kept = await self._door.keep(key.account, path)
        except FetchError as error:  # the client's address, not a part of ours: no 5xx
            raise OrderError(error.message, field="url") from None
        except CallerError as error:
            error.field = error.field or "url"
            raise
        finally:
            await in_thread(path.unlink, missing_ok=True)
        url = self._links.url(kept.key, self._door.base_url(request))
        return [FileAnswer(id=kept.id, presigned_url=url, public_url=url)]

    async def models(self, _key: Caller) -> ModelsAnswer:
        """The models that may be asked for."""
        listed = []
        for name in self._service.models:
            engine = self._service.capabilities(name)
            features = ["video/text-to-video", "video/image-to-video", "video/extend-video"]
            listed.append(
                ModelAnswer(
                    id=vendor_model(name),
                    info={"name": name, "developer": engine.name, "description": engine.description},
                    features=features + (["video/loop"] if engine.loops else []),
                    endpoints=["/v2/video/generations", f"{V2}/generation"],
                )
            )
        return ModelsAnswer(data=listed)

    async def balance(self, key: Caller) -> BalanceAnswer:
        """The credits that the key has left; one credit renders a second."""
        left = UNLIMITED_BALANCE
        if key.credits is not None:
            used = await in_thread(self._door.front.keys.usage, key.id)
            left = max(0.0, key.credits - used.credits)
        return BalanceAnswer(
            balance=left,
            lowBalance=left < LOW_BALANCE,
            lowBalanceThreshold=LOW_BALANCE,
            lastUpdated=timestamp(time.time()),
            autoDebitStatus="disabled",
            status="current",
            statusExplanation="Balance is current" if key.credits is not None else "This key has no limit",
        )

    async def _create_legacy(self, body: LegacyBody, key: Key, request: Request, extends: str | None) -> LegacyAnswer:
        base_url = self._door.base_url(request)
        try:
            order = body.order(self._links, base_url, extends)
            made = await self._door.submit(request, key, order, wire="aimlapi", body=body.request(extends))
        except CallerError as error:
            error.field = LEGACY_FIELDS.get(error.field or "", error.field)
            raise
        return legacy_answer(made, self._links, base_url)

    async def _read(self, request: Request, ids: list[str], key: Key, show: Show, *states: str | None) -> Response:
        """In the order of `ids`, as soon as all rank at or above the highest of `states`; unknown ones are none."""
        if "failed" in states:
            raise OrderError(
                "failed can't be waited for: wait for completed, it answers when either is there", field="state"
            )
        plain, rank = [plain_id(id) for id in ids], max((RANKS.get(state or "", 0) for state in states), default=0)

        def look() -> Composed:
            found = self._service.get_many(plain, key.account)
            return Composed.of(found, show(found))

        if not rank:
            return (await in_thread(look)).response()
        found = await self._door.waiting.until(
            (request.url.path, key.account, self._door.base_url(request), tuple(plain)),
            plain,
            partial(in_thread, look),
            lambda one: one.rank >= rank,
            seconds=self._door.front.wait_seconds,
        )
        return found.response()


def several(request: Request, name: str) -> list[str]:
    """The ids in a query: `name` repeated, `name[]`, `name[0]`, or parted by commas. Raises OrderError."""
    found: list[tuple[int, str]] = []
    for key, value in request.query_params.multi_items():
        match = re.fullmatch(rf"{name}(?:\[(?P<index>[0-9]{{0,4}})\])?", key)
        if match:
            place = int(match["index"]) if match["index"] else len(found)
            found += [(place, id.strip()) for id in value.split(",") if id.strip()]
    if not 0 < len(found) <= MOST_IDS:
        raise OrderError(f"{name} must hold 1 to {MOST_IDS} ids, got {len(found)}", field=name)
    return [id for _, id in sorted(found, key=lambda item: item[0])]


def _ids(name: str) -> dict[str, Any]:
    one = "[0-9a-f-]+(:[^,]+)?"
    items = {"type": "string", "pattern": f"^{one}(,{one})*$", "examples": ["755f9bbb-d99b-4880-992b-f05244ddba61"]}
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": True,
                "description": "Ids, with or without the `:luma/ray-2` of the universal form; commas may part several.",
                "schema": {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_IDS},
                "explode": True,
            }
        ]
    }

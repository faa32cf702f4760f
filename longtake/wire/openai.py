"""OpenAI's video protocol: the official `openai` clients work after changing their base URL and key.

All generations of an account are videos here, whatever protocol they came by. An error that speaks of a keyframe is
told of the field that it stands for: `input_reference`, `video`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Annotated, Any, Literal, NoReturn, Protocol
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from longtake.errors import CallerError, OrderError, UnknownError, WorldError
from longtake.exports import finished
from longtake.orders import KeyFrame, Order
from longtake.records import Create, Key, Upload
from longtake.wire.creates import create_of
from longtake.wire.door import BEARER, Caller, Door, in_thread, route_class
from longtake.wire.openai_answers import (
    CONTENT_DOC,
    POLL_DOC,
    DeletedAnswer,
    ErrorAnswer,
    ErrorBody,
    VideoAnswer,
    VideosAnswer,
    generation_id,
    in_its_words,
    poll_after_ms,
    video_answer,
    video_id,
)
from longtake.wire.openai_forms import Sent, is_form, received
from longtake.wire.openai_models import DEFAULT_MODEL, CreateBody, ExtendBody, ExtendWords, RemixBody, body_doc
from longtake.wire.problems import TOO_MANY, Problem

ROOT = "/v1/videos"
CODES = {
    "order": "invalid_value",
    "media": "invalid_file",
    "auth": "invalid_api_key",
    "credit": "insufficient_quota",
    "unknown": "not_found",
    "conflict": "conflict",
    "too_large": "too_large",
    "limit": "rate_limit_exceeded",
}
NEITHER = "neither an image nor a video: "
FIELDS = {"duration": "seconds", "resolution": "size", "aspect_ratio": "size"}
AGAIN_SECONDS = 2.0
"""What a client is told to wait for a picture that takes longer."""
SIGNED_SECONDS = 60
OrderOf = Callable[[Upload], tuple[Order, Mapping[str, Any]]]
"""A file that was kept → the order that it is for, and what that shows as asked for."""


class Serve(Protocol):
    """Answers with an object of the store, or the part of it that is asked for, to who has signed for it."""

    def __call__(
        self, key: str, request: Request, *, expires: str, signature: str, range: str | None
    ) -> Awaitable[Response]: ...


def shape(_request: Request, problem: Problem) -> JSONResponse:
    """The protocol's error object."""
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    kind = {"limit": "rate_limit_error", "credit": "insufficient_quota"}.get(problem.kind, kind)
    field = problem.errors[0][0] if problem.errors else None
    error = ErrorBody(
        message=in_its_words(problem.message),
        type=kind,
        param=None if field == "body" else field,
        code=CODES.get(problem.kind),
    )
    return JSONResponse(ErrorAnswer(error=error).model_dump(), problem.status, headers=problem.headers)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: what a call may answer but success."""
    return {status: {"model": ErrorAnswer, **TOO_MANY.get(status, {})} for status in (401, 429, 503, *statuses)}


def router(door: Door, serve: Serve) -> APIRouter:
    """All routes of the protocol."""
    wire, one = OpenAI(door, serve), ROOT + "/{id}"

    def limit(request: Request) -> int:
        return door.front.max_body_bytes + (door.front.max_upload_bytes if is_form(request) else 0)

    routes = route_class(shape, door, max_bytes=limit)
    made = APIRouter(route_class=routes, dependencies=[BEARER], tags=["OpenAI videos"])
    add, creates = made.add_api_route, refusals(400, 403, 404, 409, 413)
    create, extend = body_doc(CreateBody, "input_reference"), body_doc(ExtendBody, "video")
    add(ROOT, wire.create, methods=["POST"], responses=creates, openapi_extra=create)
    add(ROOT, wire.page, methods=["GET"], responses=refusals(400, 404))
    hidden: dict[str, Any] = {"include_in_schema": False, "response_model": None}
    for missing in ("/edits", "/characters"):
        add(ROOT + missing, wire.refuse, methods=["POST"], **hidden)
    add(ROOT + "/characters/{id}", wire.no_character, methods=["GET"], **hidden)
    add(ROOT + "/extensions", wire.extend, methods=["POST"], responses=creates, openapi_extra=extend)
    add(one, wire.read, methods=["GET"], responses=POLL_DOC | refusals(404))
    add(one, wire.delete, methods=["DELETE"], responses=refusals(404))
    add(one + "/remix", wire.remix, methods=["POST"], responses=creates)
    responses = CONTENT_DOC | refusals(400, 404, 409)
    add(one + "/content", wire.content, methods=["GET"], responses=responses, response_class=StreamingResponse)
    return made


class OpenAI:
    """The calls of the protocol."""

    def __init__(self, door: Door, serve: Serve) -> None:
        self._door = door
        self._serve = serve
        self._service = door.front.service
        self._links = door.front.links

    async def create(self, key: Caller, request: Request) -> VideoAnswer:
        """Make a video: from the prompt, or from an image, which is its first frame."""
        name = "input_reference"
        async with received(request, self._door, frozenset({name})) as sent:
            body = sent.body(CreateBody)
            self._service.capabilities(body.engine_model)  # ahead of keeping the file
            with _frame_called(name):
                base_url, asked = self._door.base_url(request), body.request()
                if name not in sent.files:
                    return await self._submit(request, key, body.order(self._links, base_url, None), asked)

                def order_of(file: Upload) -> tuple[Order, dict[str, Any]]:
                    _check_kind(file, "image", name)
                    return body.order(self._links, base_url, file), asked

                return await self._submit_file(request, key, sent, name, asked, order_of)

    async def extend(self, key: Caller, request: Request) -> VideoAnswer:
        """Append to a video: to one that was made here, or to a file. Its frames stay as they are."""
        async with received(request, self._door, frozenset({"video"})) as sent:
            with _frame_called("video"):
                if "video" not in sent.files:
                    return await self._extend_made(sent.body(ExtendBody), key, request)
                words = sent.body(ExtendWords)
                self._service.capabilities(DEFAULT_MODEL)

                def order_of(file: Upload) -> tuple[Order, dict[str, Any]]:
                    _check_kind(file, "video", "video")
                    found = {"seconds": file.seconds or 0, "width": file.width, "height": file.height}
                    order = words.order(KeyFrame(type="video", upload=file.id), DEFAULT_MODEL)
                    return order, words.request(found)

                return await self._submit_file(request, key, sent, "video", words.request({}), order_of)

    async def remix(self, id: str, body: RemixBody, key: Caller, request: Request) -> VideoAnswer:
        """The same order once more with other words: the same images and videos, length, size and seed."""
        plain = generation_id(id)
        asked = {"prompt": body.prompt, "remixed_from_video_id": video_id(plain)}
        create = create_of(request, key, asked)
        if made := await self._door.repeated(key, create):
            return video_answer(made)
        found = await in_thread(self._service.get, plain, key.account)
        if found.order.edit:
            raise OrderError(f"video {id} was made by {found.order.edit.kind}: there were no words in it", field="id")
        order = replace(found.order, prompt=body.prompt, callback_url=None)
        with _frame_called("id"):
            return await self._submit(request, key, order, asked, create)

    async def read(self, id: str, key: Caller, response: Response) -> VideoAnswer:
        """One video, as it is now."""
        found = await in_thread(self._service.get, generation_id(id), key.account)
        if (wait := poll_after_ms(found, time.time())) is not None:
            response.headers["openai-poll-after-ms"] = str(wait)
        return video_answer(found)

    async def page(
        self,
        key: Caller,
        after: Annotated[str | None, Query(max_length=200, description="The last id of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> VideosAnswer:
        """Videos by the time that they were ordered at."""
        found, has_more = await in_thread(
            self._service.page_after,
            key.account,
            after=None if after is None else generation_id(after, field="after"),
            limit=limit,
            ascending=order == "asc",
        )
        data = [video_answer(one) for one in found]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return VideosAnswer(data=data, first_id=first, last_id=last, has_more=has_more)

    async def delete(self, id: str, key: Caller) -> DeletedAnswer:
        """Remove a video; one that is still being made is cancelled."""
        plain = generation_id(id)
        await in_thread(self._service.delete, plain, key.account)
        return DeletedAnswer(id=video_id(plain))

    async def content(
        self,
        id: str,
        key: Caller,
        request: Request,
        variant: Annotated[
            Literal["video", "thumbnail", "spritesheet"],
            Query(description="MP4; its first frame as WebP; 5 by 4 frames as JPEG."),
        ] = "video",
    ) -> Response:
        """The finished video, or a picture of it. Byte ranges are answered."""
        generation = await in_thread(self._service.get, generation_id(id), key.account)
        stored = finished(generation).video_key
        if variant != "video":
            exports = self._service.exports
            conversion = await in_thread(exports.begin, generation, variant)
            await self._door.ended(conversion.key)
            drawn = exports.key(conversion)
            if drawn is None:
                message = f"the {variant} is being drawn: ask again"
                raise WorldError(message, retryable=True, retry_after_seconds=AGAIN_SECONDS)
            stored = drawn
        signed = dict(parse_qsl(self._links.query(stored, str(int(time.time()) + SIGNED_SECONDS))))
        range, expires, signature = request.headers.get("range"), signed["expires"], signed["signature"]
        answer = await self._serve(stored, request, expires=expires, signature=signature, range=range)
        answer.headers["cache-control"] = "private, no-cache"
        return answer

    async def refuse(self, key: Caller, request: Request) -> NoReturn:  # noqa: ARG002 - the key is checked by it
        """Refused: no engine restyles a video, and none knows characters."""
        what = request.url.path.rpartition("/")[2]
        raise OrderError(f"{what} are not supported by any engine here: videos are made, extended and remixed")

    async def no_character(self, id: str, key: Caller) -> NoReturn:  # noqa: ARG002
        """There is none."""
        raise UnknownError(f"there is no character {id[:80]}: characters are not supported by any engine here")

    async def _extend_made(self, body: ExtendBody, key: Key, request: Request) -> VideoAnswer:
        id, model = generation_id(body.video.id, field="video"), DEFAULT_MODEL
        asked = body.request({"id": video_id(id)})
        create = create_of(request, key, asked)
        if made := await self._door.repeated(key, create):
            return video_answer(made)
        with suppress(UnknownError):  # `submit` tells those that were deleted from those that never were
            model = (await in_thread(self._service.get, id, key.account)).order.model
        return await self._submit(request, key, body.order(KeyFrame(type="generation", id=id), model), asked, create)

    async def _submit_file(
        self, request: Request, key: Key, sent: Sent, name: str, asked: Mapping[str, Any], order_of: OrderOf
    ) -> VideoAnswer:
        """The file is known by its bytes: one that comes again is not kept again."""
        create = create_of(request, key, asked, digests=[sent.digests[name]])
        made = await self._door.repeated(key, create) or await self._door.submit_file(
            request, key, sent.files[name], order_of, wire="openai", create=create
        )
        return video_answer(made)

    async def _submit(
        self, request: Request, key: Key, order: Order, body: Mapping[str, Any], create: Create | None = None
    ) -> VideoAnswer:
        return video_answer(await self._door.submit(request, key, order, wire="openai", body=body, create=create))


def _check_kind(file: Upload, kind: str, name: str) -> None:
    """Raises OrderError where the file that came is of another kind."""
    if file.kind != kind:
        what = {"image": "an image", "video": "a video"}
        raise OrderError(f"{name} must be {what[kind]}, got {what[file.kind]}", field=name)


@contextmanager
def _frame_called(name: str) -> Iterator[None]:
    """What comes before the new frames has another name in each of the calls: errors say `name`."""
    try:
        yield
    except CallerError as error:
        if error.field and error.field.startswith("keyframes."):
            error.field = name
        if name == "video" and error.message.startswith(NEITHER):  # what images may be says nothing of a video
            error.message = error.message.rpartition("; ")[2]
        error.field = FIELDS.get(error.field or "", error.field)
        raise

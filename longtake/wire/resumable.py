"""`/api/uploads`: what clients bring, in one request or in as many as it takes, by tus 1.0.0.

tus (https://tus.io/protocols/resumable-upload): a POST with `Upload-Length` makes an upload, PATCH appends to it, HEAD
says how far it is, DELETE ends it. With the extensions that `EXTENSIONS` lists.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import uuid
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from longtake.errors import ConflictError, OrderError, UnknownError
from longtake.records import PartialUpload, Upload
from longtake.wire.digests import CHECKSUMS, Checksum, metadata_of, told_sha256
from longtake.wire.door import BEARER, Caller, Door, in_thread, route_class
from longtake.wire.hands import Hands
from longtake.wire.native_answers import UploadAnswer, upload_answer
from longtake.wire.problems import Problem
from longtake.wire.refusals import refusals, shape
from longtake.wire.uploads import receive_file

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
PART = "application/offset+octet-stream"
LONGEST_SWEEP_PAUSE = 600.0
METADATA_LIMIT = 8192

BINARY = {"type": "string", "format": "binary"}
SHA256 = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}
FORM = {
    "type": "object",
    "properties": {"file": BINARY, "sha256": SHA256},
    "required": ["file"],
    "additionalProperties": False,
}
UPLOAD_DOC = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": FORM}, "application/octet-stream": {"schema": BINARY}},
    }
}
PART_DOC = {"requestBody": {"required": True, "content": {PART: {"schema": BINARY}}}}

NUMBER, TEXT = {"type": "string", "pattern": "^[0-9]{1,15}$"}, {"type": "string"}
TUS_DOC = {"Tus-Resumable": {"const": VERSION}}
CREATE_DOC = TUS_DOC | {
    "Upload-Length": NUMBER,
    "Upload-Metadata": TEXT,
    "Upload-Checksum": TEXT,
    "Content-Digest": TEXT,
    "Repr-Digest": TEXT,
}
APPEND_DOC = TUS_DOC | {"Upload-Offset": NUMBER, "Upload-Checksum": TEXT, "Content-Digest": TEXT}

log = logging.getLogger(__name__)


class Uploads:
    """The calls."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._service = door.front.service
        self._incoming = door.front.service.incoming
        self._hands = Hands(door)
        self.router = self._routes()

    def _routes(self) -> APIRouter:
        limited = route_class(tus_shape, self._door, max_bytes=self._limit)
        router = APIRouter(route_class=limited, dependencies=[BEARER], tags=["Longtake"])
        add, doc, all_of, one = router.add_api_route, _answers, "/api/uploads", "/api/uploads/{id}"
        tus: dict[str, Any] = {"openapi_extra": _headers_doc(TUS_DOC, 1)}
        made: dict[str, Any] = {
            "status_code": 201,
            "response_model": UploadAnswer,
            "openapi_extra": UPLOAD_DOC | _headers_doc(CREATE_DOC),
        }
        add(all_of, self.create, methods=["POST"], responses=doc(400, 408, 409, 412, 413, 415, 423, 460), **made)
        add(one, self.read, methods=["GET"], responses=doc(400, 404, 409, 410, 423), response_model=UploadAnswer)
        add(one, self.head, methods=["HEAD"], responses=doc(400, 404, 410, 412, 423), response_class=Response, **tus)
        add(one, self.delete, methods=["DELETE"], status_code=204, responses=doc(400, 404, 409, 412, 423), **tus)
        parts: dict[str, Any] = {"status_code": 204, "openapi_extra": PART_DOC | _headers_doc(APPEND_DOC, 2)}
        codes = (400, 404, 408, 409, 410, 412, 413, 415, 423, 460)
        add(one, self.append, methods=["PATCH"], responses=doc(*codes), **parts)
        add(one, self.override, methods=["POST"], include_in_schema=False)
        for path in (all_of, one):  # without a key, as browsers ask it
            router.add_route(path, self.options, methods=["OPTIONS"], include_in_schema=False)
        return router

    def _limit(self, request: Request) -> int:
        is_tus = request.method != "POST" or _is_creation(request)
        return self._incoming.max_bytes if is_tus else self._door.front.max_upload_bytes

    async def options(self, _: Request) -> Response:
        """What is spoken here."""
        headers = {
            "tus-resumable": VERSION,
            "tus-version": VERSION,
            "tus-extension": EXTENSIONS,
            "tus-max-size": str(self._incoming.max_bytes),
            "tus-checksum-algorithm": ",".join(CHECKSUMS),
            "allow": "POST, GET, HEAD, PATCH, DELETE, OPTIONS",
        }
        return Response(status_code=204, headers=headers)

    async def create(self, key: Caller, request: Request) -> Response:
        """Bring an image or a video: as the part `file` of a form, as the body itself, or in parts (tus 1.0.0).

        With `Upload-Length` only the place for it is made, and `Location` says where PATCH sends its parts.
        """
        if _is_creation(request):
            return await self._begin(request, key.account)
        folder = self._door.front.store.work_folder or Path(tempfile.gettempdir())
        path = folder / f"upload-{uuid.uuid4()}"
        try:
            sha256 = await receive_file(request, path)
            upload = await self._door.keep(key.account, path, sha256)
        finally:
            await in_thread(path.unlink, missing_ok=True)
        return JSONResponse(upload_answer(upload).model_dump(), 201)

    async def _begin(self, request: Request, account: str) -> Response:
        _check_version(request)
        if "upload-defer-length" in request.headers:
            raise OrderError("Upload-Length must be known from the start", field="Upload-Defer-Length")
        num_bytes, text = _number(request, "Upload-Length"), request.headers.get("upload-metadata", "")
        if not text.isascii():
            raise OrderError("Upload-Metadata must be ASCII", field="Upload-Metadata")
        sha256, checksum = told_sha256(request, metadata_of(text)), Checksum.of(request)
        brings_part = request.headers.get("content-type", "") == PART
        if not brings_part and request.headers.get("content-length", "0") != "0":
            raise HTTPException(415, f"a body beside Upload-Length must be {PART}")
        partial = await in_thread(self._incoming.begin, account, num_bytes, metadata=text, sha256=sha256)
        offset = 0
        if brings_part:
            async with self._hands.hold(partial) as (file, holding):
                await self._hands.receive(request, partial, file, holding, checksum)
                offset = file.size
                if offset == num_bytes:
                    await self._door.finish(partial, file)
        location = f"{self._door.base_url(request)}/api/uploads/{partial.id}"
        headers = {"location": location, "upload-offset": str(offset)}
        return Response(status_code=201, headers=headers | await self._headers(partial, offset))

    async def append(self, id: str, key: Caller, request: Request) -> Response:
        """Send the next part of an upload; the last is answered when the whole was looked at, and is kept."""
        _check_version(request)
        if request.headers.get("content-type", "") != PART:
            raise HTTPException(415, f"a part of an upload must be {PART}")
        offset, checksum = _number(request, "Upload-Offset"), Checksum.of(request)
        partial, upload = await self._look(id, key.account)
        if upload or partial is None:
            assert upload
            if offset != upload.num_bytes:
                raise ConflictError(f"upload {id} is finished, with {upload.num_bytes} bytes", field="Upload-Offset")
            return Response(status_code=204, headers={"tus-resumable": VERSION, "upload-offset": str(offset)})
        async with self._hands.hold(partial) as (file, holding):
            if offset != file.size:
                raise ConflictError(f"upload {id} has {file.size} bytes, not {offset}", field="Upload-Offset")
            await self._hands.receive(request, partial, file, holding, checksum)
            if file.size == partial.num_bytes:
                await self._door.finish(partial, file)
            offset = file.size
        headers = {"upload-offset": str(offset)} | await self._headers(partial, offset)
        return Response(status_code=204, headers=headers)

    async def head(self, id: str, key: Caller, request: Request) -> Response:
        """How much of an upload is there. Who asks is about to send: a PATCH that hangs is broken off."""
        _check_version(request)
        await self._hands.wait(id, key.account, break_off=True)
        partial, upload = await self._look(id, key.account)
        offset = upload.num_bytes if upload else await self._hands.settle(partial)
        headers = {"upload-offset": str(offset), "cache-control": "no-store", "tus-resumable": VERSION}
        if partial:
            headers |= await self._headers(partial, offset)
            headers["upload-metadata"] = partial.metadata
        headers["upload-length"] = str(partial.num_bytes if partial else offset)
        return Response(headers={name: value for name, value in headers.items() if value})

    async def read(self, id: str, key: Caller) -> Response:
        """An upload that is finished."""
        await self._hands.wait(id, key.account, break_off=False)
        partial, upload = await self._look(id, key.account)
        if upload is None:
            assert partial
            offset = await self._hands.settle(partial)
            upload = await in_thread(self._service.find_upload, id, key.account)
            if upload is None:
                raise ConflictError(f"upload {id} is not finished: it has {offset} of {partial.num_bytes} bytes")
        return JSONResponse(upload_answer(upload).model_dump())

    async def delete(self, id: str, key: Caller, request: Request) -> Response:
        """End an upload that is not finished."""
        _check_version(request)
        await self._hands.wait(id, key.account, break_off=True)
        if await in_thread(self._service.find_upload, id, key.account):
            raise ConflictError(f"upload {id} is finished: videos may hold it")
        partial = await in_thread(self._incoming.find, id, key.account)
        async with self._hands.hold(partial) as (file, _):
            await in_thread(self._incoming.end, partial, file)
        return Response(status_code=204, headers={"tus-resumable": VERSION})

    async def override(self, id: str, key: Caller, request: Request) -> Response:
        """For clients that can send nothing but GET and POST: `X-HTTP-Method-Override` names the method."""
        method = request.headers.get("x-http-method-override", "").upper()
        if method == "PATCH":
            return await self.append(id, key, request)
        if method in ("HEAD", "DELETE"):
            return await (self.head if method == "HEAD" else self.delete)(id, key, request)
        raise HTTPException(405, "this path takes GET, HEAD, PATCH and DELETE")

    async def sweep_often(self) -> None:
        """Forgets unfinished uploads that have expired, now and for ever."""
        pause = min(LONGEST_SWEEP_PAUSE, self._incoming.seconds / 4)
        while True:
            try:
                await in_thread(self._incoming.sweep)
            except Exception:
                log.exception("unfinished uploads could not be swept")
            await asyncio.sleep(pause)

    # ---- one upload

    async def _look(self, id: str, account: str) -> tuple[PartialUpload | None, Upload | None]:
        """What is known of it, one of them at least. Raises UnknownError, 410 where it expired or was refused."""
        upload = await in_thread(self._service.find_upload, id, account)
        try:
            partial = await in_thread(self._incoming.find, id, account)
        except UnknownError:
            if upload is None:
                raise
            return None, upload
        if upload is None and partial.failure is not None:
            raise HTTPException(410, f"upload {id} was refused: {partial.failure}")
        if upload is None and await in_thread(self._incoming.is_expired, partial):
            raise HTTPException(410, f"upload {id} has expired: begin anew")
        return partial, upload

    async def _headers(self, partial: PartialUpload, offset: int) -> dict[str, str]:
        headers = {"tus-resumable": VERSION}
        if offset < partial.num_bytes:
            expires = datetime.fromtimestamp(await in_thread(self._incoming.expires_at, partial), UTC)
            headers["upload-expires"] = format_datetime(expires, usegmt=True)
        return headers


def tus_shape(request: Request, problem: Problem) -> Response:
    """Our error object, with what tus wants on every answer."""
    response = shape(request, problem)
    if request.method in ("PATCH", "HEAD", "DELETE") or "tus-resumable" in request.headers or _is_creation(request):
        response.headers["tus-resumable"] = VERSION
    if problem.status == 412:
        response.headers["tus-version"] = VERSION
    return response


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return refusals(401, 429, 503, *statuses)


def _headers_doc(headers: dict[str, dict[str, str]], num_required: int = 0) -> dict[str, Any]:
    """For the OpenAPI document; the first so many are required."""
    return {
        "parameters": [
            {"name": name, "in": "header", "required": index < num_required, "schema": schema}
            for index, (name, schema) in enumerate(headers.items())
        ]
    }


def _is_creation(request: Request) -> bool:
    names = ("tus-resumable", "upload-length", "upload-defer-length")
    return request.method == "POST" and any(name in request.headers for name in names)


def _check_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise HTTPException(412, f"Tus-Resumable must be {VERSION}")


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise OrderError(f"{name} must be a number of bytes", field=name)
    return int(text)

"""Our own error object: of the native protocol, of media, and of paths that no protocol knows."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from longtake.wire.door import request_id
from longtake.wire.problems import TOO_MANY, Problem


class NativeErrorBody(BaseModel):
    message: str
    field: str | None
    kind: str


class NativeError(BaseModel):
    error: NativeErrorBody
    request_id: str


def shape(request: Request, problem: Problem) -> JSONResponse:
    """Our error object."""
    field = problem.errors[0][0] if problem.errors else None
    error = NativeErrorBody(message=problem.message, field=field, kind=problem.kind)
    body = NativeError(error=error, request_id=request_id(request))
    return JSONResponse(body.model_dump(), problem.status, headers=problem.headers)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: what a call may answer but success."""
    return {status: {"model": NativeError, **TOO_MANY.get(status, {})} for status in statuses}

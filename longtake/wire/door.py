"""What all wires share: who is asking, the way into threads, and the one place where each wire writes its errors."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message

from longtake.errors import (
    AuthError,
    CallerError,
    ConflictError,
    CreditError,
    LongtakeError,
    MediaError,
    OrderError,
    TooLargeError,
    UnknownError,
    WorldError,
)
from longtake.fetch import Fetcher
from longtake.incoming import PartialFile
from longtake.records import Changes, Key, Keys, PartialUpload, Upload
from longtake.service import Service
from longtake.store import Store
from longtake.wire.fields import ASPECT_RATIO_PATTERN, CALLBACK_PATTERN, URL_PATTERN
from longtake.wire.links import Links
from longtake.wire.waiting import Waiting

P = ParamSpec("P")
T = TypeVar("T")

KEY_SECONDS = 3.0
"""How long a key that was good is taken as good: so long may a revoked one still open."""
MOST_KEYS = 10_000
MOST_FETCHES = 4
"""Addresses being fetched at once for clients that wait for it."""
MOST_KEPT = 4
"""Uploads being looked at at once, or waiting for that in a thread."""
MOST_ERRORS = 20
"""So many wrong fields are named in one answer."""
NAME_LIMIT = 80
"""The client's own field names are repeated no longer than this."""
STATUSES: tuple[tuple[type[CallerError], int, str], ...] = (
    (OrderError, 400, "order"),
    (MediaError, 400, "media"),
    (AuthError, 401, "auth"),
    (CreditError, 403, "credit"),
    (UnknownError, 404, "unknown"),
    (ConflictError, 409, "conflict"),
    (TooLargeError, 413, "too_large"),
)
KINDS = {400: "order", 401: "auth", 403: "forbidden", 404: "unknown", 405: "method", 408: "timeout", 409: "conflict"}
KINDS |= {410: "gone", 412: "version", 413: "too_large", 415: "media_type", 423: "locked", 460: "checksum"}
MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "there is no such field",
    "json_invalid": "the body is not JSON",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "union_tag_not_found": "is required",
}
PATTERNS = {
    URL_PATTERN: "must start with https://, http:// or data:",
    CALLBACK_PATTERN: "must start with https:// or http://",
    ASPECT_RATIO_PATTERN: 'must be W:H from 9:21 to 21:9, such as "16:9"',
}
TAGS = frozenset({"image", "generation", "video", "name", "key"})

log = logging.getLogger(__name__)
BEARER = Security(HTTPBearer(auto_error=False, description="`Authorization: Bearer KEY`"))
"""For the OpenAPI document alone: the route class reads the key, before anything else of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What the wires are given."""

    service: Service
    changes: Changes
    keys: Keys
    store: Store
    links: Links
    fetcher: Fetcher
    public_url: str | None = None
    """Where clients reach us, if not where they say they do (the Host header)."""
    max_upload_bytes: int = 2 << 30
    max_body_bytes: int = 1 << 20
    """Of a JSON body."""
    wait_seconds: float = 30.0
    """The longest that a GET waits for a state."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, before a wire gives it its shape. `message` is fit for the client."""

    status: int
    kind: str
    message: str
    errors: tuple[tuple[str, str], ...] = ()
    """`(field, message)` of each field that is wrong."""
    headers: dict[str, str] = field(default_factory=dict)


Shape = Callable[[Request, Problem], Response]


class Door:
    """The front as it runs: keys that were just seen, clients that wait, turns for slow work."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.waiting = Waiting(front.changes)
        self._fetching = anyio.CapacityLimiter(MOST_FETCHES)
        # Few at once, and not among the threads that answer: large files take long. One at a time is decoded.
        self._keeping = anyio.CapacityLimiter(MOST_KEPT)
        self._keys: dict[bytes, tuple[float, Key]] = {}

    async def fetch(self, url: str, path: Path) -> None:
        """Fetches what the client named to `path`, when it is its turn. Raises FetchError."""
        await anyio.to_thread.run_sync(self.front.fetcher.fetch, url, path, limiter=self._fetching)

    async def keep(self, account: str, path: Path, sha256: str | None = None) -> Upload:
        """Keeps the file at `path` as an upload, when it is its turn. Raises MediaError, OrderError."""
        keep = partial(self.front.service.upload, account, path, sha256=sha256)
        return await anyio.to_thread.run_sync(keep, limiter=self._keeping)

    async def finish(self, upload: PartialUpload, file: PartialFile) -> Upload:
        """The same for a file that came in parts, and is whole."""
        return await anyio.to_thread.run_sync(self.front.service.finish_upload, upload, file, limiter=self._keeping)

    def base_url(self, request: Request) -> str:
        """Without a slash at its end."""
        return (self.front.public_url or str(request.base_url)).rstrip("/")

    async def check_key(self, request: Request) -> Key:
        """The key that the request carries. Raises AuthError."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise AuthError("Invalid API key is provided")
        name, now = hashlib.sha256(secret.encode()).digest(), time.monotonic()
        until, key = self._keys.get(name, (0.0, None))
        if key is not None and now < until:
            return key
        key = await in_thread(self.front.keys.check, secret)
        if len(self._keys) >= MOST_KEYS:
            self._keys.clear()
        self._keys[name] = (now + KEY_SECONDS, key)
        return key


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls what blocks, without blocking."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


def _caller(request: Request) -> Key:
    key = request.state.key
    assert isinstance(key, Key)
    return key


async def _caller_async(request: Request) -> Key:
    return _caller(request)


Caller = Annotated[Key, Depends(_caller_async)]
"""The key of the request: on routes of a locked route class."""


def route_class(
    shape: Shape, door: Door, *, locked: bool = True, max_bytes: Callable[[Request], int] | None = None
) -> type[APIRoute]:
    """Routes whose errors, all of them, are written by `shape`; with `locked`, only for those with a key.

    The key is checked before the body is looked at, and of the body at most `max_bytes` are read
    (`Front.max_body_bytes` without it).
    """

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_all(request: Request) -> Response:
                try:
                    if locked:
                        request.state.key = await door.check_key(request)
                    limit = max_bytes(request) if max_bytes else door.front.max_body_bytes
                    return await handle(_limited(request, limit))
                except Exception as error:
                    return shape(request, problem_of(error))

            return handle_all

    return Route


def problem_of(error: Exception) -> Problem:
    """The one place that decides what an error is for the client. Nothing of the request's body is in it."""
    if isinstance(error, CallerError):
        status, kind = next((status, kind) for cls, status, kind in STATUSES if isinstance(error, cls))
        errors: tuple[tuple[str, str], ...] = ()
        if status == 400 or error.field:
            errors = ((error.field or "body", error.message),)
        headers = {"www-authenticate": "Bearer"} if status == 401 else {}
        return Problem(status, kind, error.message, errors, headers)
    if isinstance(error, WorldError):
        log.warning("something outside failed: %s", error)
        after = {"retry-after": str(max(1, round(error.retry_after_seconds or 5)))} if error.retryable else {}
        return Problem(503, "world", error.message, (), after)
    if isinstance(error, RequestValidationError):
        errors = tuple((_field(item), _message(item)) for item in error.errors()[:MOST_ERRORS])
        return Problem(400, "order", "; ".join(f"{name}: {text}" for name, text in errors), errors)
    if isinstance(error, HTTPException):
        kind = KINDS.get(error.status_code, "order")
        errors = (("body", error.detail),) if error.status_code == 400 else ()
        return Problem(error.status_code, kind, error.detail, errors, dict(error.headers or {}))
    if isinstance(error, ClientDisconnect):
        return Problem(400, "order", "the client went away")
    is_ours = isinstance(error, LongtakeError)
    log.error("a fault of ours", exc_info=error)
    return Problem(500, "fault", str(error) if is_ours else "a fault of ours; the log has more under this request's id")


def request_id(request: Request) -> str:
    """What the access log calls this request."""
    return str(getattr(request.state, "request_id", ""))


def _limited(request: Request, limit: int) -> Request:
    """The same request; reading more than `limit` bytes of its body raises."""
    too_large = HTTPException(413, f"the body may have at most {limit} bytes")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        raise too_large
    receive, num_bytes = request.receive, 0

    async def receive_limited() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > limit:
            raise too_large
        return message

    return Request(request.scope, receive_limited)


def _field(item: dict[str, Any]) -> str:
    """`("body", "keyframes", "frame0", "image", "url")` → `keyframes.frame0.url`; the tags of unions are left out."""
    place, *path = item["loc"]
    names: list[str] = []
    for index, name in enumerate(path):
        is_tag = name in TAGS and index > 0 and (path[index - 1] in ("frame0", "frame1") or path[0] == "concepts")
        is_last = index == len(path) - 1
        if item["type"] == "json_invalid" or (is_tag and not is_last):
            continue
        names.append(str(name)[:NAME_LIMIT].encode("utf-8", "replace").decode())
    if item["type"].startswith("union_tag_"):
        names.append("type")
    return ".".join(names) or str(place)


def _message(item: dict[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if item["loc"] == ("body",) and kind != "missing":
        return "must be a JSON object, sent as application/json"
    if kind in MESSAGES:
        return MESSAGES[kind]
    if kind == "union_tag_invalid":
        return f"must be one of {context['expected_tags']}"
    if kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        return PATTERNS[context["pattern"]]
    return re.sub(
        r"^(Value error, |[A-Z][a-z]+ should )", lambda match: "must " * match[0].endswith("should "), item["msg"]
    )

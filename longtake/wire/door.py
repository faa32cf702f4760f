"""What all wires share: who is asking, the way into threads, and the one place where each wire writes its errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message

from longtake.errors import (
    AuthError,
)
from longtake.fetch import Fetcher, is_data_url
from longtake.incoming import PartialFile
from longtake.metrics import Seen
from longtake.orders import Order
from longtake.records import Changes, Create, Generation, Key, Keys, PartialUpload, Upload
from longtake.service import Service
from longtake.store import Store
from longtake.wire.creates import create_of, trace_of
from longtake.wire.links import Links
from longtake.wire.problems import Problem, problem_of
from longtake.wire.rates import Rates
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
log = logging.getLogger(__name__)
AGAIN_SECONDS = 1
"""What a client is told to wait that comes while the server ends: another takes its place."""
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
    look: Callable[[], Seen] = lambda: Seen({}, 0)
    """What `/metrics` shows of queues and workers."""
    public_url: str | None = None
    """Where clients reach us, if not where they say they do (the Host header)."""
    max_upload_bytes: int = 2 << 30
    max_body_bytes: int = 1 << 20
    """Of a JSON body."""
    wait_seconds: float = 30.0
    """The longest that a GET waits for a state."""
    rates: Rates = field(default_factory=Rates)
    """`SharedRates` where there are other fronts."""


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = asyncio.Event()
        self._farewells: list[Callable[[], None]] = [self._leaving.set, self.waiting.let_go]
        self.is_leaving = False
        """True from `drain` on."""
        self.rates = front.rates

    def start(self) -> None:
        """Must be called in the event loop that the clients are served by."""
        self._loop = asyncio.get_running_loop()
        self.waiting.start()

    def drain(self) -> None:
        """The server ends: who waits is answered now, and who comes is sent away, to ask again elsewhere or later.

        Streams of events end after their last event, long polls answer with what is there, uploads in parts break off
        and keep what came; all other requests that are here already are answered as ever. May be called from any
        thread, and from a signal's handler.
        """
        self.is_leaving = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._say_farewell)

    def when_leaving(self, call: Callable[[], None]) -> None:
        """`call` is called in the event loop as soon as the server ends."""
        self._farewells.append(call)

    def _say_farewell(self) -> None:
        for call in self._farewells:
            call()

    def check_open(self) -> None:
        """Raises 503 while the server ends."""
        if self.is_leaving:
            raise HTTPException(503, "this server is being stopped: ask again", {"retry-after": str(AGAIN_SECONDS)})

    async def ended(self, future: concurrent.futures.Future[Any]) -> None:
        """Returns when it has, and after `Front.wait_seconds` or as the server ends in any case; no thread waits."""
        if future.done():
            return
        ended = asyncio.wrap_future(future)
        ended.add_done_callback(lambda one: one.cancelled() or one.exception())  # the caller asks for it itself
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait([ended, leaving], timeout=self.front.wait_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()

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

    async def submit(
        self,
        request: Request,
        key: Key,
        order: Order,
        *,
        wire: str,
        body: Mapping[str, Any],
        create: Create | None = None,
    ) -> Generation:
        """Takes an order: all creates of all wires come through here, and one that is sent again makes nothing more.

        `body` is what the answer shows as asked for; `create` is given where body and order are not what tells this
        create from others. Raises CallerError.
        """
        submit = partial(
            self.front.service.submit,
            key,
            order,
            wire=wire,
            request=body,
            base_url=self.base_url(request),
            create=create or create_of(request, key, body, order),
            trace=trace_of(request),
        )
        # What stands in the order is looked at as an upload is.
        is_inline = any(frame.url and is_data_url(frame.url) for _, frame in order.ends)
        return await anyio.to_thread.run_sync(submit, limiter=self._keeping if is_inline else None)

    async def submit_file(
        self,
        request: Request,
        key: Key,
        path: Path,
        order_of: Callable[[Upload], tuple[Order, Mapping[str, Any]]],
        *,
        wire: str,
        create: Create,
    ) -> Generation:
        """The same for an order whose first frame is the file at `path`: it and the body are made of the upload."""
        submit = partial(
            self.front.service.submit_file,
            key,
            path,
            order_of,
            wire=wire,
            base_url=self.base_url(request),
            create=create,
            trace=trace_of(request),
        )
        return await anyio.to_thread.run_sync(submit, limiter=self._keeping)

    async def repeated(self, key: Key, create: Create) -> Generation | None:
        """What this create has made already: asked ahead of looking up, or keeping, what its order is made of.

        Raises ConflictError where that is gone, or was another create.
        """
        return await in_thread(self.front.service.repeated, key.account, create)

    def base_url(self, request: Request) -> str:
        """Without a slash at its end."""
        return (self.front.public_url or str(request.base_url)).rstrip("/")

    async def check_key(self, request: Request) -> Key:
        """The key that the request carries, with this request counted. Raises AuthError, LimitError."""
        key = await self._key(request)
        await self.rates.count(key)
        return key

    async def _key(self, request: Request) -> Key:
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
    shape: Shape,
    door: Door,
    *,
    locked: bool = True,
    always: bool = False,
    max_bytes: Callable[[Request], int] | None = None,
) -> type[APIRoute]:
    """Routes whose errors, all of them, are written by `shape`; with `locked`, only for those with a key.

    The key is checked before the body is looked at, and of the body at most `max_bytes` are read
    (`Front.max_body_bytes` without it). Only with `always` they answer while the server ends.
    """

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_all(request: Request) -> Response:
                request.state.received_at = time.time()
                try:
                    if not always:
                        door.check_open()
                    if locked:
                        request.state.key = await door.check_key(request)
                    limit = max_bytes(request) if max_bytes else door.front.max_body_bytes
                    response = await handle(_limited(request, limit))
                except Exception as error:
                    response = shape(request, problem_of(error))
                if door.is_leaving:
                    response.headers["connection"] = "close"
                return response

            return handle_all

    return Route


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

"""All wires as one application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from longtake.errors import WorldError
from longtake.metrics import SHARED, Queues, exposition
from longtake.tracing import is_on
from longtake.wire import aimlapi, downloads, hls, luma, media, native, openai, refusals, resumable
from longtake.wire.access import Access, Metrics
from longtake.wire.door import Door, Front, Shape, in_thread, route_class
from longtake.wire.page import CSP, page
from longtake.wire.problems import problem_of
from longtake.wire.protocols import PROTOCOLS, Application, Protocol, route_id, split

__all__ = ["Front", "build"]

MOST_THREADS = 16
"""That block on the database, the store or a child for clients: who waits for a state holds none."""
SHAPES: tuple[tuple[tuple[str, ...], Shape], ...] = (
    (("/dream-machine/",), luma.shape),
    (("/v1/videos/",), openai.shape),
    (("/v1/", "/v2/", "/luma-ai/", "/models/"), aimlapi.shape),
)
"""Where unknown paths begin so, errors have that protocol's shape."""
DESCRIPTION = "Makes any video longer: after its end, before its start, or across the gap to another."


log = logging.getLogger(__name__)


class Health(BaseModel):
    status: str
    version: str


def build(front: Front) -> FastAPI:
    """The application. Its lifespan must be run: it starts the one thread that watches for changes.

    Its `state.drain` is to be called as soon as the process is told to end: see `Door.drain`.
    """
    door = Door(front)
    uploads = resumable.Uploads(door)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = MOST_THREADS
        door.start()
        sweeping = asyncio.create_task(uploads.sweep_often())
        try:
            yield
        finally:
            sweeping.cancel()
            await in_thread(door.waiting.stop)

    app = Application(
        title="Longtake",
        version=version("longtake"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=route_id,
        lifespan=lifespan,
        telemetry={"tracing": is_on(), "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.drain = door.drain
    metrics = Metrics(front.service.count_by_state, lambda: door.waiting.num_waiting)
    metrics.registry.register(Queues(front.look, sorted(set(front.service.models.values()))))
    app.add_middleware(Access, metrics=metrics)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _no_route)
    for router in (
        aimlapi.router(door),
        luma.router(door),
        openai.router(door, media.Media(front.store, front.links).get),
        native.router(door),
        downloads.router(door),
        uploads.router,
        hls.router(door),  # ahead of all other media, whose path takes anything
        media.router(door),
        _operations(door, metrics),
    ):
        app.include_router(router)

    _add_documents(app, door)
    return app


def _add_documents(app: FastAPI, door: Door) -> None:
    """What is read about the calls: no key is asked for."""

    async def docs(request: Request) -> Response:
        html = await in_thread(page, app.openapi(), door.base_url(request), shape_of)
        return HTMLResponse(html, headers={"content-security-policy": CSP})

    async def start(_: Request) -> Response:
        return RedirectResponse("/docs")

    def one_of(protocol: Protocol) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            return JSONResponse(await in_thread(split, app.openapi(), protocol))

        return answer

    app.add_route("/docs", docs, include_in_schema=False)
    for protocol in PROTOCOLS:
        app.add_route(f"/openapi/{protocol.name}.json", one_of(protocol), include_in_schema=False)
    app.add_route("/", start, include_in_schema=False)


def _operations(door: Door, metrics: Metrics) -> APIRouter:
    """For those who run it; no key is asked for."""
    routes = route_class(refusals.shape, door, locked=False, always=True)
    router, release = APIRouter(route_class=routes, tags=["Operations"]), version("longtake")

    async def healthz() -> Health:
        """Whether the server lives: it answers, whatever it stands on."""
        return Health(status="ok", version=release)

    async def readyz() -> Health:
        """Whether the server is to be sent requests: database and store are reached, and it is not being stopped."""
        door.check_open()
        for what, check in (("database", door.front.changes.last_id), ("store", door.front.store.check)):
            try:
                await in_thread(check)
            except Exception as error:
                problem = str(error).partition("\n")[0]  # asked every few seconds: no traceback for each
                log.warning("the %s can't be reached: %s: %s", what, type(error).__name__, problem[:300])
                raise WorldError(f"the {what} can't be reached", retryable=True) from None
        return Health(status="ready", version=release)

    async def read_metrics() -> Response:
        """Figures for Prometheus."""
        return Response(await in_thread(exposition, SHARED, metrics.registry), media_type=CONTENT_TYPE_LATEST)

    router.add_api_route("/healthz", healthz, methods=["GET"])
    router.add_api_route("/readyz", readyz, methods=["GET"], responses=refusals.refusals(503))
    router.add_api_route("/metrics", read_metrics, methods=["GET"], response_class=PlainTextResponse)
    return router


def _no_route(request: Request, error: Exception) -> Response:
    """What no route answers for: unknown paths and methods, in the shape of the protocol that the path belongs to."""
    texts = {404: "there is no such path", 405: f"this path does not take {request.method[:20]}"}
    if isinstance(error, HTTPException) and error.status_code in texts:
        error = HTTPException(error.status_code, texts[error.status_code], error.headers)
    return shape_of(request.url.path)(request, problem_of(error))


def shape_of(path: str) -> Shape:
    """How the protocol that a path belongs to writes its errors."""
    return next((shape for paths, shape in SHAPES if f"{path}/".startswith(paths)), refusals.shape)

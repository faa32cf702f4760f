"""Around every request: its id, one line in the log, figures for Prometheus, and headers that harden the answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterable

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
"""A request id that a client or a proxy may choose."""
HARDENING = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'self'"),
)
"""Set where a route has not set them itself."""
COUNT_SECONDS = 30.0
"""How old the numbers of generations by state may be: each is a count of all there are."""
SECONDS_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 31)

log = structlog.get_logger("longtake.access")


class Metrics(Collector):
    """Figures of this process, and of the database where they are asked for. A registry of its own, not the global."""

    def __init__(self, count_by_state: Callable[[], dict[str, int]], num_waiting: Callable[[], int]) -> None:
        self._count_by_state = count_by_state
        self._counting = threading.Lock()
        self._counted_at = -math.inf
        self._counted: dict[str, int] = {}
        self._num_waiting = num_waiting
        self.registry = CollectorRegistry()
        labels = ("method", "route")
        self.requests = Counter(
            "longtake_http_requests", "Requests answered", (*labels, "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "longtake_http_request_seconds",
            "From the request to the last byte of its answer",
            labels,
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        states = GaugeMetricFamily("longtake_generations", "Generations by state", labels=("state",))
        for state, count in self._states().items():
            states.add_metric((state,), count)
        yield states
        yield GaugeMetricFamily("longtake_waiting_clients", "Clients that wait for a change", self._num_waiting())

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def _states(self) -> dict[str, int]:
        """Counted once in `COUNT_SECONDS` at most, however many scrape; empty where that failed."""
        with self._counting:
            if time.monotonic() - self._counted_at >= COUNT_SECONDS:
                self._counted = {}
                with contextlib.suppress(Exception):  # a database that is away is another figure: longtake_database_up
                    self._counted = self._count_by_state()
                self._counted_at = time.monotonic()
            return self._counted


class Access:
    """Pure ASGI: nothing is buffered, no task is added, and an answer does not wait for what is noted of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        # Not from the system's source of randomness: that call lets go of the interpreter's lock, and waits for it.
        chosen = given if GIVEN_ID.fullmatch(given) else b"%016x" % random.getrandbits(64)
        request_id = scope.setdefault("state", {})["request_id"] = chosen.decode()
        status, started = 500, time.perf_counter()

        async def send_hardened(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", chosen)]
                names = {name for name, _ in headers}
                message["headers"] = headers + [pair for pair in HARDENING if pair[0] not in names]
            await send(message)

        try:
            await self._app(scope, receive, send_hardened)
        finally:
            seconds = time.perf_counter() - started
            # After the answers of all others that the same change woke.
            asyncio.get_running_loop().call_soon(self._tell, scope, status, seconds, request_id)

    def _tell(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route, method = getattr(scope.get("route"), "path", "unknown"), scope["method"]
        method = method if method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS") else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        log.info(
            "request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), request_id=request_id
        )

"""Around every request: its id, one line in the log, figures for Prometheus, and headers that harden the answer."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
"""A request id that a client or a proxy may choose."""
HARDENING = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
    "content-security-policy": "default-src 'none'; frame-ancestors 'self'",
}
"""Set where a route has not set them itself."""
SECONDS_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 31)

log = structlog.get_logger("longtake.access")


class Metrics(Collector):
    """Figures of this process, and of the database where they are asked for. A registry of its own, not the global."""

    def __init__(self, count_by_state: Callable[[], dict[str, int]], num_waiting: Callable[[], int]) -> None:
        self._count_by_state = count_by_state
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
        for state, count in self._count_by_state().items():
            states.add_metric((state,), count)
        yield states
        yield GaugeMetricFamily("longtake_waiting_clients", "Clients that wait for a change", self._num_waiting())

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()


class Access:
    """Pure ASGI: nothing is buffered, no task is added."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status, started = 500, time.perf_counter()

        async def send_hardened(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in HARDENING.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_hardened)
        finally:
            self._tell(scope, status, time.perf_counter() - started, request_id)

    def _tell(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route, method = getattr(scope.get("route"), "path", "unknown"), scope["method"]
        method = method if method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS") else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        log.info(
            "request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), request_id=request_id
        )

"""A collector of traces on loopback: OTLP/HTTP with protobuf, as OpenTelemetry's exporters send it."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers import listening


@dataclass(frozen=True)
class Seen:
    """A span as it came."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    reason: str
    attributes: dict[str, Any]
    process: dict[str, Any]
    """What its process says of itself."""


class Collector:
    def __init__(self) -> None:
        self.address = ""
        self._spans: list[Seen] = []
        self._change = threading.Condition()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._change:
            for group in request.resource_spans:
                process = _values(group.resource.attributes)
                self._spans += [_seen(span, process) for scope in group.scope_spans for span in scope.spans]
            self._change.notify_all()

    @property
    def spans(self) -> list[Seen]:
        with self._change:
            return list(self._spans)

    def named(self, name: str) -> Seen:
        """The one span of this name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def wait_for(self, enough: Callable[[list[Seen]], bool], seconds: float = 60) -> list[Seen]:
        """All spans, once there are enough."""
        with self._change:
            assert self._change.wait_for(lambda: enough(self._spans), timeout=seconds), [
                (span.process.get("longtake.role"), span.name) for span in self._spans
            ]
            return list(self._spans)


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            collector.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with listening(Handler) as address:
        collector.address = address
        yield collector


def _seen(span: Any, process: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        failed=span.status.code == 2,
        reason=span.status.message,
        attributes=_values(span.attributes),
        process=process,
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}

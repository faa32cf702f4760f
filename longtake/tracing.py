"""Traces by OpenTelemetry, where its usual `OTEL_…` variables ask for them (https://opentelemetry.io/docs/specs/otel).

One trace holds a create's request in the front, each run of its generation in the workers, their steps, and what was
told of it: `Generation.trace` carries its context (W3C Trace Context, https://www.w3.org/TR/trace-context) from the one
to the others. Without such variables nothing is imported, and a span costs a few microseconds.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from longtake.errors import Cancelled, LongtakeError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

log = structlog.get_logger("longtake.tracing")
NAME: Final = "longtake"
PACKAGES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
FLUSH_SECONDS: Final = 2.0
"""How long the end of a process waits for a collector."""
MOST_REASON: Final = 200

Kind = Literal["internal", "client"]
Value = str | bool | int | float
_provider: TracerProvider | None = None
_tracer: Tracer | None = None


def exporter_wanted(environment: Mapping[str, str]) -> Literal["otlp", "console"] | None:
    """What the variables ask for; None: no traces. What can't be done is warned of once, by name."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    default = "otlp" if any(environment.get(name) for name in ENDPOINTS) else "none"
    wanted = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or default
    if wanted == "none":
        return None
    if wanted not in ("otlp", "console"):
        log.warning(f"no traces: OTEL_TRACES_EXPORTER is otlp, console or none, got {wanted[:40]}")
        return None
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), "http/protobuf")
    if wanted == "otlp" and protocol != "http/protobuf":
        log.warning(f"no traces: OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf here, got {protocol[:40]}")
        return None
    return "otlp" if wanted == "otlp" else "console"


def set_up(role: str) -> bool:
    """Turns traces on for this process where the environment asks for them; whether it did.

    `role` (front, worker) is told of the process, whose `service.name` is `longtake` unless a variable names another.
    """
    global _provider, _tracer
    wanted = exporter_wanted(os.environ)
    if _provider is not None or wanted is None:
        return _provider is not None
    if not _installed():
        log.warning("no traces: OTEL_… variables ask for them; the extra is missing: pip install 'longtake[traces]'")
        return False
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    told: dict[str, Value] = {
        "service.version": version(NAME),
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        "longtake.role": role,
    }
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        told["service.name"] = NAME
    exporter: SpanExporter = ConsoleSpanExporter(out=sys.stderr)
    if wanted == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    # Its own handler at exit would wait half a minute for a collector that is gone.
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    provider.add_span_processor(_hide_queries())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)  # the front's web framework makes the span of each request by it
    _provider, _tracer = provider, provider.get_tracer(NAME, version(NAME))
    atexit.register(shut_down)
    return True


def shut_down(timeout_seconds: float = FLUSH_SECONDS) -> None:
    """Sends what is left, as far as that is done in time. For a process that ends by `os._exit`; others do it so."""
    global _provider, _tracer
    if _provider is None:
        return
    ending = threading.Thread(target=_provider.shutdown, name="longtake-traces-end", daemon=True)
    _provider = _tracer = None
    ending.start()
    ending.join(timeout_seconds)


def is_on() -> bool:
    """Whether this process makes spans."""
    return _provider is not None


@contextmanager
def span(name: str, *, parent: str | None = None, kind: Kind = "internal", **attributes: Value) -> Iterator[None]:
    """A piece of work: below the span that is open here, or, where `parent` (a `traceparent`) is given, below that.

    An error that leaves it is its end's reason; a cancel is none. `name` is one of few: ids go to `attributes`, each
    of which is called `longtake.NAME`.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name,
        context=_context_of(parent),
        kind=SpanKind.CLIENT if kind == "client" else SpanKind.INTERNAL,
        attributes={f"{NAME}.{key}": value for key, value in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ):
        try:
            yield
        except Cancelled:
            raise
        except Exception as error:
            # What others raise may quote what it worked on: prompts, addresses, paths.
            fail(str(error) if isinstance(error, LongtakeError) else type(error).__name__)
            raise


def note(**attributes: Value) -> None:
    """More of the span that is open here."""
    if _provider is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes({f"{NAME}.{name}": value for name, value in attributes.items()})


def fail(reason: str) -> None:
    """The span that is open here ends in an error, though none is raised through it."""
    if _provider is not None:
        from opentelemetry import trace

        trace.get_current_span().set_status(trace.Status(trace.StatusCode.ERROR, reason[:MOST_REASON]))


def current_traceparent() -> str | None:
    """The span that is open here, as W3C writes it: what a generation keeps. None without traces."""
    return headers().get("traceparent")


def headers() -> dict[str, str]:
    """What a request carries that belongs to the span that is open here."""
    carrier: dict[str, str] = {}
    if _provider is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(carrier)
    return carrier


def _context_of(traceparent: str | None) -> Any:
    """None: that of the span that is open."""
    if traceparent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def _installed() -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in PACKAGES)
    except ModuleNotFoundError:
        return False


def _hide_queries() -> Any:
    """The signature of a link stands in its query: whoever reads traces must not be able to open what it opens."""
    from opentelemetry.sdk.trace import SpanProcessor

    class HideQueries(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "REDACTED")

    return HideQueries()


__all__ = [
    "current_traceparent",
    "exporter_wanted",
    "fail",
    "headers",
    "is_on",
    "note",
    "set_up",
    "shut_down",
    "span",
]

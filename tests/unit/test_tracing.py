"""Traces: on by OpenTelemetry's variables, and nothing at all without them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from longtake import tracing
from tests.collector import Collector, collecting

CLIENT = 3
"""OTLP's number for a span of a client."""
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of the W3C's own page."""


def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: what OpenTelemetry is told, a process can't take back."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**environment, **variables}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "longtake"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": " Console "}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, None),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp"),
    ],
)
def test_the_usual_variables_say_whether_there_are_traces(variables: dict[str, str], wanted: str | None) -> None:
    with capture_logs() as logs:
        assert tracing.exporter_wanted(variables) == wanted
    assert logs == []


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is otlp, console or none, got zipkin"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "PROTOCOL is http/protobuf"),
    ],
)
def test_what_can_not_be_sent_so_is_said_once_and_traces_stay_off(variables: dict[str, str], named: str) -> None:
    with capture_logs() as logs:
        assert tracing.exporter_wanted(variables) is None
    (line,) = logs
    assert line["log_level"] == "warning"
    assert named in line["event"]


def test_without_traces_a_span_is_nothing_and_errors_pass() -> None:
    assert not tracing.is_on()

    def work() -> None:
        with tracing.span("render", parent=GIVEN, step="render part 1"):
            tracing.note(state="completed")
            tracing.fail("no reason")
            assert tracing.current_traceparent() is None
            assert tracing.headers() == {}
            raise KeyError

    with pytest.raises(KeyError):
        work()


def test_without_variables_no_process_loads_the_sdk() -> None:
    run(
        "import sys, longtake.app, longtake.worker, longtake.wire.http\n"
        "from longtake import tracing\n"
        "assert not tracing.set_up('worker')\n"
        "with tracing.span('generation'): tracing.current_traceparent()\n"
        "loaded = [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]\n"
        "assert not loaded, loaded\n"
    )


def test_tracing_alone_loads_nothing_of_opentelemetry() -> None:
    run(
        "import sys\nfrom longtake import tracing\nassert not tracing.set_up('front')\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )


def test_without_the_packages_one_warning_names_the_extra() -> None:
    done = run(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('opentelemetry.sdk'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from longtake import tracing\n"
        "assert not tracing.set_up('worker')\n"
        "assert not tracing.is_on()\n",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    assert (done.stdout + done.stderr).count("pip install 'longtake[traces]'") == 1


def test_a_collector_that_is_gone_does_not_keep_a_process_from_ending() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        run(
            "from longtake import tracing\nassert tracing.set_up('worker')\nwith tracing.span('generation'): pass\n",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )


SPANS = f"""
from longtake import tracing
from longtake.errors import Cancelled, FetchError
from contextlib import suppress
assert tracing.set_up("worker")
with tracing.span("generation", parent="{GIVEN}", generation="an-id", attempt=2):
    assert tracing.current_traceparent().split("-")[1] == "{GIVEN.split("-")[1]}"
    with tracing.span("render", step="render part 3 of 4"):
        pass
    with suppress(FetchError), tracing.span("bring"):
        raise FetchError("keyframes.frame0: the server answered 404")
    with suppress(KeyError), tracing.span("splice"):
        raise KeyError("the prompt of somebody")
    with suppress(Cancelled), tracing.span("poster"):
        raise Cancelled("cancelled")
    tracing.note(state="completed")
with tracing.span("webhook", kind="client", parent="no traceparent"):
    print(tracing.headers()["traceparent"])
from opentelemetry import trace
with trace.get_tracer("the front's web framework").start_as_current_span(
    "GET /media", attributes={{"url.query": "expires=1&signature=5ec2e7", "url.path": "/media/videos/a.mp4"}}
):
    pass
tracing.shut_down()
assert not tracing.is_on()
"""


@pytest.fixture(scope="module")
def traced() -> Iterator[tuple[Collector, str]]:
    """The spans of `SPANS`, and what it printed."""
    with collecting() as collector:
        done = run(SPANS, OTEL_EXPORTER_OTLP_ENDPOINT=collector.address)
        yield collector, done.stdout.strip()


def test_spans_hang_below_the_given_parent_and_below_one_another(traced: tuple[Collector, str]) -> None:
    collector, _ = traced
    generation, render = collector.named("generation"), collector.named("render")
    _, trace_id, parent_id, _ = GIVEN.split("-")
    assert (generation.trace_id, generation.parent_id) == (trace_id, parent_id)
    assert (render.trace_id, render.parent_id) == (trace_id, generation.span_id)
    assert render.attributes == {"longtake.step": "render part 3 of 4"}
    assert generation.attributes == {
        "longtake.generation": "an-id",
        "longtake.attempt": 2,
        "longtake.state": "completed",
    }


def test_an_error_of_ours_is_a_reason_and_that_of_others_only_its_kind(traced: tuple[Collector, str]) -> None:
    collector, _ = traced
    told = {name: (collector.named(name).failed, collector.named(name).reason) for name in ("bring", "splice")}
    assert told == {"bring": (True, "keyframes.frame0: the server answered 404"), "splice": (True, "KeyError")}
    assert not collector.named("poster").failed  # a cancel is no error
    assert not collector.named("generation").failed


def test_a_request_carries_its_span_and_a_parent_that_is_none_begins_a_trace(traced: tuple[Collector, str]) -> None:
    collector, printed = traced
    webhook = collector.named("webhook")
    assert webhook.kind == CLIENT
    assert webhook.parent_id == ""
    assert printed.split("-")[1:3] == [webhook.trace_id, webhook.span_id]


def test_the_signature_of_a_link_stays_out_of_traces(traced: tuple[Collector, str]) -> None:
    collector, _ = traced
    request = collector.named("GET /media")
    assert request.attributes == {"url.query": "REDACTED", "url.path": "/media/videos/a.mp4"}


def test_a_process_says_what_it_is(traced: tuple[Collector, str]) -> None:
    collector, _ = traced
    process = collector.named("generation").process
    assert (process["service.name"], process["longtake.role"]) == ("longtake", "worker")
    assert {"service.version", "service.instance.id"} < process.keys()


def test_variables_name_the_service() -> None:
    with collecting() as collector:
        script = "from longtake import tracing\ntracing.set_up('front')\nwith tracing.span('a'): pass"
        run(script, OTEL_EXPORTER_OTLP_ENDPOINT=collector.address, OTEL_SERVICE_NAME="films")
        assert collector.named("a").process["service.name"] == "films"

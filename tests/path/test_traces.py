"""One trace from a client's request over the front and the worker to the webhook; and the figures beside it."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.collector import Collector, Seen, collecting
from tests.servers import Server, listening

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER = 2
"""OTLP's number for a span of a server."""


class Told:
    """A receiver of webhooks, which keeps their headers."""

    def __init__(self) -> None:
        self.address = ""
        self.headers: list[dict[str, str]] = []
        self.change = threading.Condition()


@contextlib.contextmanager
def told() -> Iterator[Told]:
    told = Told()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            with told.change:
                told.headers.append(dict(self.headers.items()))
                told.change.notify_all()

    with listening(Handler) as address:
        told.address = f"{address}/hook"
        yield told


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Scene:
    """A server with traces and a worker with figures, that has made one video, and failed at another."""

    def __init__(self, server: Server, collector: Collector, told: Told, port: int) -> None:
        self.collector = collector
        self.told = told
        self.server = server
        body = {
            "seconds": 0.5,
            "fps": 12,
            "resolution": "540p",
            "prompt": "a secret boat",
            "callback_url": told.address,
        }
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        answer = server.client.post("/api/generations", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        self.id: str = answer.json()["id"]
        server.completed(self.id)
        lost = {"type": "image", "url": f"{told.address}.png"}
        self.failed = server.create({"seconds": 0.5, "keyframes": {"frame0": lost}})
        assert server.finished(self.failed)["state"] == "failed"
        with told.change:
            assert told.change.wait_for(lambda: len(told.headers) >= 2, timeout=60)  # dreaming, completed
        settled = ('longtake_webhook_tries_total{outcome="delivered"} 2.0', "longtake_worker_slots_in_use 0.0")
        self.worker = ""
        while not all(
            line in self.worker for line in settled
        ):  # what clients see comes a moment ahead of what is counted
            self.worker = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        self.ready = httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
        self.front = server.client.get("/metrics").text
        self.spans: list[Seen] = []

    def of_trace(self, name: str) -> Seen:
        (found,) = [span for span in self.spans if span.name == name and span.trace_id == TRACE]
        return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    port = free_port()
    with collecting() as collector, told() as receiver:
        server = Server(
            tmp_path_factory.mktemp("traced") / "data",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.address,
            LONGTAKE_METRICS_PORT=str(port),
        ).start()
        try:
            scene = Scene(server, collector, receiver, port)
        finally:
            server.stop()  # both processes send what is left
        scene.spans = collector.spans
        yield scene


def test_one_trace_holds_the_request_the_run_its_steps_and_its_webhooks(scene: Scene) -> None:
    request, run = scene.of_trace("POST /api/generations"), scene.of_trace("generation")
    assert (request.parent_id, request.kind, request.process["longtake.role"]) == (PARENT, SERVER, "front")
    assert (run.parent_id, run.process["longtake.role"]) == (request.span_id, "worker")
    steps = {span.name: span for span in scene.spans if span.parent_id == run.span_id}
    assert {"render", "measure", "splice", "poster"} <= steps.keys()
    assert {span.trace_id for span in steps.values()} == {TRACE}
    hooks = [span for span in scene.spans if span.name == "webhook" and span.trace_id == TRACE]
    assert [span.parent_id for span in hooks] == [request.span_id] * 2
    assert {span.attributes["longtake.event"] for span in hooks} == {"dreaming", "completed"}


def test_a_run_says_what_it_was_and_how_it_ended(scene: Scene) -> None:
    run = scene.of_trace("generation")
    expected = {"generation": scene.id, "engine": "motion", "attempt": 1, "start": 1, "state": "completed"}
    assert {f"longtake.{name}": value for name, value in expected.items()}.items() <= run.attributes.items()
    assert not run.failed
    (failed,) = [span for span in scene.spans if span.attributes.get("longtake.generation") == scene.failed]
    assert failed.failed
    assert failed.attributes["longtake.failure_kind"] in ("caller", "world")
    assert failed.reason.startswith("keyframes.frame0")


def test_a_webhook_carries_its_span(scene: Scene) -> None:
    spans = {span.span_id for span in scene.spans if span.name == "webhook"}
    carried = [headers["traceparent"].split("-") for headers in scene.told.headers[:2]]
    assert {(trace_id, span_id in spans) for _, trace_id, span_id, _ in carried} == {(TRACE, True)}


def test_no_prompt_and_no_key_is_in_a_trace(scene: Scene) -> None:
    assert "secret boat" not in str(scene.spans)
    assert "Bearer" not in str(scene.spans)


def test_the_worker_shows_what_it_did_and_that_it_is_ready(scene: Scene) -> None:
    families = list(text_string_to_metric_families(scene.worker))

    def total(name: str, **labels: str) -> float:
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    assert total("longtake_generations_ended_total", engine="motion", state="completed", kind="") == 1
    assert total("longtake_generations_ended_total", engine="motion", state="failed") == 1
    assert total("longtake_generation_runs_total", engine="motion", run="first") == 2
    assert total("longtake_generation_wait_seconds_count", engine="motion") == 2
    assert total("longtake_step_seconds_count", step="render") == 1
    assert total("longtake_step_failures_total", step="bring") == 1
    assert total("longtake_frames_rendered_total", engine="motion") == 6
    assert total("longtake_webhook_tries_total", outcome="delivered") == 2
    assert total("longtake_store_bytes_total", direction="written") > 1000
    assert total("longtake_worker_slots") == 1
    assert total("longtake_worker_slots_in_use") == 0
    assert (scene.ready.status_code, scene.ready.json()["status"]) == (200, "ready")


def test_the_front_shows_requests_and_queues(scene: Scene) -> None:
    assert 'longtake_http_requests_total{method="POST",route="/api/generations",status="201"} 2.0' in scene.front
    assert "longtake_database_up 1.0" in scene.front

"""A front that is told to end: who waits is answered, who sends in parts keeps what came, who comes is sent away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import Request

from longtake.wire.uploads import receive
from tests.wire_rig import KEY, Rig, client, events, serving

SEED = "/v2/generate/video/luma-ai/generation"
TUS = {"tus-resumable": "1.0.0"}


@dataclass
class Front:
    rig: Rig
    url: str
    http: httpx2.Client

    def create(self) -> str:
        return str(self.http.post("/api/generations", json={"prompt": "A jellyfish"}).json()["id"])

    def drain(self) -> None:
        self.rig.app.state.drain()

    def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(2000):
            if is_so():
                return
        raise AssertionError("it did not come to pass")

    def num_waiting(self) -> int:
        text = self.http.get("/metrics").text
        return int(float(text.split("\nlongtake_waiting_clients ")[1].split()[0]))


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    rig = Rig.build(tmp_path)
    with serving(rig) as url, client(url) as http:
        yield Front(rig, url, http)


def test_long_polls_are_answered_with_the_state_of_now(front: Front) -> None:
    id = front.create()
    front.rig.records.start(id, 1)
    asked: list[tuple[str, dict[str, str]]] = [
        (SEED, {"generation_id": id, "state": "completed"}),
        (f"/api/generations/{id}", {"wait": "completed"}),
    ]

    def get(path: str, params: dict[str, str]) -> httpx2.Response:
        with client(front.url) as http:
            return http.get(path, params=params)

    with ThreadPoolExecutor() as pool:
        answers: list[Future[httpx2.Response]] = [pool.submit(get, path, params) for path, params in asked]
        front.until(lambda: front.num_waiting() == len(asked))
        front.drain()
        for answer in answers:
            found = answer.result(timeout=20)  # not the 30 s that they may wait
            assert (found.status_code, found.json()["state"]) == (200, "dreaming")
            assert found.headers["connection"] == "close"


def test_streams_of_events_end_whole_and_go_on_elsewhere(front: Front, tmp_path: Path) -> None:
    id = front.create()
    with front.http.stream("GET", f"/api/generations/{id}/events") as stream:
        seen = []
        for event in events(stream):
            seen.append(event)
            if len(seen) == 1:
                front.rig.records.start(id, 1)
            if len(seen) == 2:
                front.drain()
    assert [data["state"] for _, _, data in seen] == ["queued", "dreaming"]
    front.rig.complete(id)
    other = Rig.build(tmp_path)
    with serving(other) as url, client(url) as http:
        headers = {"last-event-id": str(seen[-1][0])}
        with http.stream("GET", f"/api/generations/{id}/events", headers=headers) as stream:
            assert [data["state"] for _, _, data in events(stream)] == ["completed"]


def test_who_comes_is_sent_away_in_the_words_of_its_protocol(front: Front) -> None:
    assert front.http.get("/readyz").status_code == 200
    front.drain()
    for path, error in (("/api/usage", "error"), (SEED, "statusCode"), ("/dream-machine/v1/ping", "detail")):
        answer = front.http.get(path)
        assert (answer.status_code, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
        assert error in answer.json()
    assert front.http.get("/readyz").status_code == 503
    assert front.http.get("/healthz").status_code == 200
    assert "longtake_http_requests" in front.http.get("/metrics").text


def test_an_upload_in_parts_breaks_off_and_keeps_what_came(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = threading.Event()

    async def receive_and_tell(request: Request, take: Callable[[bytes], object], tell: Callable[[], object]) -> None:
        def told() -> None:
            tell()
            came.set()

        await receive(request, take, told)

    monkeypatch.setattr("longtake.wire.hands.receive", receive_and_tell)
    made = front.http.post("/api/uploads", headers={**TUS, "upload-length": "1000"})
    path, at = urlsplit(made.headers["location"]).path, urlsplit(front.url)
    head = (
        f"PATCH {path} HTTP/1.1\r\nhost: {at.netloc}\r\nauthorization: Bearer {KEY}\r\ntus-resumable: 1.0.0\r\n"
        "upload-offset: 0\r\ncontent-type: application/offset+octet-stream\r\ncontent-length: 1000\r\n\r\n"
    )
    with socket.create_connection((at.hostname, at.port), timeout=20) as sender:
        sender.sendall(head.encode() + b"x" * 400)
        assert came.wait(20)
        front.drain()
        answer = sender.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503")
    other = Rig.build(tmp_path)
    with serving(other) as url, client(url) as http:
        assert http.head(path, headers=TUS).headers["upload-offset"] == "400"


def test_a_drain_may_come_ahead_of_the_start_and_from_any_thread(tmp_path: Path) -> None:
    rig = Rig.build(tmp_path)
    rig.app.state.drain()
    with serving(rig) as url, client(url) as http:
        assert http.get("/api/usage").status_code == 503
        thread = threading.Thread(target=rig.app.state.drain)
        thread.start()
        thread.join()
        assert http.get("/readyz").status_code == 503

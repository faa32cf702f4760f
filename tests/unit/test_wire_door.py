"""What holds for all wires: keys, limits, the shapes of errors, headers, the log."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from longtake.errors import FaultError, StoreError
from tests.wire_rig import KEY, Rig, client, serving

LIMIT = 100_000
AIMLAPI = "/v2/generate/video/luma-ai/generation"
NATIVE = "/api/generations"
SECRET_WORD = "a-word-from-the-body"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig.build(tmp_path_factory.mktemp("door"), max_body_bytes=LIMIT, max_upload_bytes=LIMIT)


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx2.Client]:
    with client(url) as http:
        yield http


def is_aimlapi_error(answer: httpx2.Response) -> bool:
    return set(answer.json()) - {"errors"} == {"requestId", "statusCode", "timestamp", "path", "message"}


def is_native_error(answer: httpx2.Response) -> bool:
    return set(answer.json()) == {"error", "request_id"}


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Bearer lt-é", f"Basic {KEY}", KEY])
def test_without_a_good_key_nothing_opens(url: str, authorization: str | None) -> None:
    headers = {b"authorization": authorization.encode()} if authorization is not None else {}
    with httpx2.Client(base_url=url, headers=headers, trust_env=False) as http:
        for answer in (http.post(AIMLAPI, content=b"not even json"), http.get("/models"), http.get("/v2/billing")):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert is_aimlapi_error(answer)
            assert answer.json()["message"] == "Invalid API key is provided"
        for answer in (http.get(NATIVE), http.get("/api/events"), http.post("/api/uploads", content=b"x" * LIMIT * 2)):
            assert answer.status_code == 401
            assert is_native_error(answer)


def test_a_revoked_key_opens_nothing_after_a_few_seconds(rig: Rig, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = rig.keys.create("short-lived")
    with client(url, secret) as http:
        assert http.get("/models").status_code == 200
        rig.keys.revoke(key.id)
        assert http.get("/models").status_code == 200  # it was seen a moment ago
        now = time.monotonic()
        monkeypatch.setattr("longtake.wire.door.time.monotonic", lambda: now + 3.1)
        assert http.get("/models").status_code == 401


def chunks(num_bytes: int) -> Iterator[bytes]:
    yield b'{"prompt": "'
    for _ in range(0, num_bytes, 50_000):
        yield b"x" * 50_000
    yield b'"}'


@pytest.mark.parametrize("path", [AIMLAPI, NATIVE, "/luma-ai/generations", "/api/uploads"])
def test_a_large_body_is_413_whether_announced_or_not(http: httpx2.Client, path: str) -> None:
    headers = {"content-type": "application/json"}
    for content in (b"x" * 20_000_000, chunks(LIMIT)):
        answer = http.post(path, content=content, headers=headers)
        assert answer.status_code == 413, answer.text
        assert is_native_error(answer) == path.startswith("/api")
        assert str(LIMIT) in answer.text
    assert http.get("/healthz").status_code == 200


def test_a_body_just_below_the_limit_is_read(http: httpx2.Client) -> None:
    body = json.dumps({"prompt": "x", "y": "z" * (LIMIT - 30)})
    answer = http.post(NATIVE, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "y"


BROKEN: list[bytes] = [
    b"",
    b"{",
    b"null",
    b'"%s"' % SECRET_WORD.encode(),
    b'{"prompt": "%s", "extra": "%s"}' % (SECRET_WORD.encode(), SECRET_WORD.encode()),
    b'{"prompt": ["%s"]}' % SECRET_WORD.encode(),
    b'{"keyframes": {"frame0": {"type": "image", "url": "gopher://%s"}}}' % SECRET_WORD.encode(),
    b'{"prompt": "\\ud800", "\\ud800": 1}',
    b'{"prompt": "x", "seconds": 1e999}',
    b'{"prompt": "x", "seed": 1%s}' % (b"0" * 5000),
    b'{"prompt": "x", "%s": 1}' % (b"k" * 50_000),
    b"[" * 50_000,
    b"\xff\xfe",
    b'{"prompt": "x", "duration": {"a": 1}}',
]


@pytest.mark.parametrize("body", BROKEN)
@pytest.mark.parametrize("path", [AIMLAPI, NATIVE])
def test_a_broken_body_is_400_and_not_repeated(http: httpx2.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert SECRET_WORD not in answer.text
    assert len(answer.content) < 3000
    assert is_native_error(answer) == path.startswith("/api")


def test_a_body_that_is_not_called_json_is_400(http: httpx2.Client) -> None:
    answer = http.post(AIMLAPI, content=b'{"prompt": "x"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "application/json" in answer.text


def test_unknown_paths_and_methods_answer_in_the_shape_of_their_protocol(http: httpx2.Client) -> None:
    for path in ("/v2/none", "/v1/none", "/v1", "/luma-ai/x", "/models/x", f"{AIMLAPI}/"):
        answer = http.get(path)
        assert answer.status_code == 404, path
        assert is_aimlapi_error(answer), path
    assert http.get("/").headers["location"] == "/docs"
    for path in ("/api/none", "/api/generations/", "/modelsx"):
        answer = http.get(path)
        assert answer.status_code == 404, path
        assert is_native_error(answer), path
    for method, path, is_error in (("PUT", AIMLAPI, is_aimlapi_error), ("PATCH", NATIVE, is_native_error)):
        answer = http.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"]
        assert is_error(answer)


class TestFaults:
    def broken(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def raise_it(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr("longtake.service.Service.page", raise_it)

    def test_a_fault_of_ours_tells_nothing_from_inside(
        self, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.broken(monkeypatch, RuntimeError(f"/home/secret {SECRET_WORD}"))
        for path, is_error in ((NATIVE, is_native_error), ("/luma-ai/generations", is_aimlapi_error)):
            answer = http.get(path)
            assert answer.status_code == 500
            assert is_error(answer)
            assert SECRET_WORD not in answer.text
            assert answer.headers["x-request-id"] in answer.text
        assert SECRET_WORD in caplog.text

    def test_a_broken_promise_is_told_as_one(self, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken(monkeypatch, FaultError("the timeline has no end"))
        assert http.get(NATIVE).status_code == 500

    def test_a_failure_outside_says_when_to_come_again(
        self, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.broken(monkeypatch, StoreError("the disk is busy", retryable=True, retry_after_seconds=7))
        answer = http.get(NATIVE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        self.broken(monkeypatch, StoreError("the disk is gone"))
        answer = http.get(NATIVE)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, False)

    @pytest.mark.parametrize(
        ("what", "check"), [("database", "longtake.records.Changes.last_id"), ("store", "longtake.store.Store.check")]
    )
    def test_without_what_it_stands_on_it_lives_but_is_not_ready(
        self, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch, what: str, check: str
    ) -> None:
        assert http.get("/readyz").json()["status"] == "ready"

        def fail(_: Any) -> int:
            raise RuntimeError("no such file")

        monkeypatch.setattr(check, fail)
        answer = http.get("/readyz")
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert what in answer.json()["error"]["message"]
        assert "no such file" not in answer.text
        assert http.get("/healthz").json()["status"] == "ok"


def test_answers_are_hardened_and_carry_the_request_id(http: httpx2.Client) -> None:
    headers = http.get("/models", headers={"x-request-id": "my-request-1"}).headers
    assert headers["x-request-id"] == "my-request-1"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert http.get("/models", headers={"x-request-id": "bad id, too"}).headers["x-request-id"] != "bad id, too"


def test_the_log_has_one_line_for_a_request_and_no_secret(http: httpx2.Client) -> None:
    with structlog.testing.capture_logs() as lines:
        http.get(f"{AIMLAPI}?generation_id={SECRET_WORD}")
        http.get(f"/api/generations/{SECRET_WORD}")
        http.get(f"/{SECRET_WORD}")
        http.post(NATIVE, json={"prompt": SECRET_WORD})
        http.get("/healthz")  # a line is written after the answer, but ahead of the next request's
    lines = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", AIMLAPI, 404),
        ("GET", "/api/generations/{id}", 404),
        ("GET", "unknown", 404),
        ("POST", NATIVE, 201),
        ("GET", "/healthz", 200),
    ][: len(lines)]
    assert len(lines) >= 4
    assert all(set(line) >= {"ms", "request_id"} for line in lines)
    assert SECRET_WORD not in str(lines)
    assert KEY not in str(lines)


def test_an_address_follows_the_public_url(tmp_path_factory: pytest.TempPathFactory) -> None:
    rig = Rig.build(tmp_path_factory.mktemp("public"), public_url="https://video.example/")
    with serving(rig) as url, client(url) as http:
        id = http.post(NATIVE, json={}).json()["id"]
        rig.complete(id)
        assert http.get(f"{NATIVE}/{id}").json()["video_url"].startswith("https://video.example/media/videos/")


def test_a_large_refused_body_costs_no_memory(http: httpx2.Client) -> None:
    """The server is a thread of this process: its peak is ours."""

    def peak_megabytes() -> int:
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, chunk = peak_megabytes(), b"x" * 65536
    with contextlib.suppress(httpx2.TransportError):  # the server may close before all is sent
        answer = http.post(NATIVE, content=(chunk for _ in range(3000)), headers={"content-type": "application/json"})
        assert answer.status_code == 413
    assert peak_megabytes() - before < 20
    assert http.get("/healthz").status_code == 200

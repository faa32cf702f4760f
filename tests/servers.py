"""A real server process for tests, and a client of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

KEY = "a-key-for-tests-0123456789"


class Server:
    """`longtake serve` on a free port, with `data` as its folder. It outlives `kill` and can be started again."""

    def __init__(self, data: Path, *arguments: str, **variables: str) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        self._arguments = arguments
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")},
            "LONGTAKE_API_KEY": KEY,
            "LONGTAKE_FETCH_ALLOW": "127.0.0.1/32",
            **variables,
        }
        self.process: subprocess.Popen[str] | None = None
        self.address = ""
        self.client = httpx2.Client(trust_env=False)

    def start(self) -> Server:
        command = [sys.executable, "-m", "longtake", "serve", "--port", "0", "--data", str(self.data)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, *self._arguments], env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout
        for line in self.process.stdout:
            if found := re.match(r"Longtake\s+(http\S+)", line):
                self.address = found[1]
                break
        else:
            raise AssertionError(f"the server did not start:\n{self.log.read_text()}")
        self.client.close()
        headers = {"Authorization": f"Bearer {KEY}"}
        self.client = httpx2.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)
        return self

    def kill(self) -> None:
        """`kill -9`: the worker notices that its parent is gone, and ends too."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        self.client.close()

    def _end(self, how: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()
            self.process = None

    def create(self, body: dict[str, Any], path: str = "/api/generations") -> str:
        """Creates a generation and returns its id."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        id: str = answer.json()["id"]
        return id

    def finished(self, id: str) -> dict[str, Any]:
        """The generation once it has ended, by the native protocol."""
        while True:
            answer = self.client.get(f"/api/generations/{id}", params={"wait": "completed", "timeout": 30})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            if found["state"] in {"completed", "failed"}:
                return found

    def completed(self, id: str) -> dict[str, Any]:
        found = self.finished(id)
        assert found["state"] == "completed", (found["failure_reason"], self.log.read_text()[-4000:])
        return found

    def make(self, body: dict[str, Any], path: str = "/api/generations") -> dict[str, Any]:
        return self.completed(self.create(body, path))

    def upload(self, path: Path) -> str:
        """Brings a file, and returns its id."""
        answer = self.client.post("/api/uploads", files={"file": (path.name, path.read_bytes())})
        assert answer.status_code == 201, answer.text
        id: str = answer.json()["id"]
        return id

    def count(self) -> int:
        """How many generations the account has."""
        found: int = self.client.get("/api/generations", params={"limit": 1}).json()["count"]
        return found

    def download(self, url: str, path: Path) -> Path:
        answer = self.client.get(url)
        assert answer.status_code == 200, answer.text
        path.write_bytes(answer.content)
        return path


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a little server of the files in `folder`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    with listening(functools.partial(Quiet, directory=str(folder))) as address:
        yield address


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a little server answers at one path. `opened`: it waits until this is set."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    opened: threading.Event | None = None


@contextlib.contextmanager
def replying(replies: Mapping[str, Reply]) -> Iterator[str]:
    """The address of a little server that answers by path: `{"/image.png": Reply(404)}`. Others are not there."""

    class Replies(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_GET(self) -> None:
            reply = replies.get(self.path, Reply(404))
            if reply.opened:
                reply.opened.wait()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(reply.body)

    try:
        with listening(Replies) as address:
            yield address
    finally:
        for reply in replies.values():
            if reply.opened:
                reply.opened.set()


@contextlib.contextmanager
def listening(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a little server with this handler."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

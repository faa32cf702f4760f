"""A real server process for tests, and a client of it."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
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

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

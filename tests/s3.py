"""A real S3 server, in processes of its own: Swift where it is installed, else moto's, which `make test` builds."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.store import S3Store

from longtake.store import Store
from tests import swift

PROGRAM = Path(sys.prefix) / "s3-server" / "bin" / "moto_server"
BUCKET = "longtake"
PAGE = 50
"""How many keys the server lists at once: 1000 would take longer to put than to list."""
KEYS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
WITHOUT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_S3_FORCE_PATH_STYLE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION")


@dataclass(frozen=True)
class S3:
    """A server that listens, with one bucket."""

    endpoint: str
    name: str
    """swift, or moto."""

    def set_environment(self, patch: pytest.MonkeyPatch, endpoint: str = "") -> None:
        """As operators set it."""
        for name in WITHOUT:
            patch.delenv(name, raising=False)
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint or self.endpoint}).items():
            patch.setenv(name, value)

    def store(self, scratch: Path, prefix: str = "") -> Store:
        """With a prefix of its own, where none is given. The environment must be set."""
        return Store.in_bucket(f"s3://{BUCKET}/{prefix or uuid.uuid4().hex}", scratch)

    def num_unfinished(self) -> int:
        """Multipart uploads that were neither finished nor broken off; 0 from Swift, which wants that signed."""
        if self.name != "moto":
            return 0
        with urllib.request.urlopen(f"{self.endpoint}/{BUCKET}?uploads") as answer:
            return int(answer.read().count(b"<UploadId>"))


def found() -> str:
    """Which server tests take, for the head of the report."""
    if swift.is_installed():
        return "swift"
    return "moto" if PROGRAM.is_file() else ""


@pytest.fixture(scope="session", name="s3")
def s3_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """One server for all tests of a process; skipped by name where there is none."""
    if not found():
        from tests.conftest import missing

        missing("s3", f"there is no {PROGRAM}: make test builds it")
    folder = tmp_path_factory.mktemp("s3")
    with swift.running(folder, page=PAGE) if found() == "swift" else _moto(folder) as (endpoint, processes):
        server = S3(endpoint, found())
        deadline = time.monotonic() + 60
        while not _has_bucket(server):
            logs = "".join(log.read_text() for log in folder.glob("*.log"))
            assert all(process.poll() is None for process in processes), logs
            assert time.monotonic() < deadline, f"the S3 server did not start: {logs}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[0].wait(0.05)
        yield server


@contextlib.contextmanager
def _moto(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    (port,) = swift.free_ports(1)
    environment = os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
    with (folder / "moto.log").open("wb") as log:
        command = [str(PROGRAM), "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield f"http://127.0.0.1:{port}", [process]
        finally:
            process.terminate()
            process.wait(10)


def _has_bucket(server: S3) -> bool:
    """Made, as soon as it listens: by what puts an object, with the server in the place of the bucket."""
    with contextlib.suppress(obstore.exceptions.BaseError):  # no answer, or none as to the putting of an object
        obstore.put(_client(server, is_bucket=False), BUCKET, b"", use_multipart=False)
    try:
        return next(iter(obstore.list(_client(server, is_bucket=True))), None) is None
    except obstore.exceptions.BaseError:
        return False


def _client(server: S3, *, is_bucket: bool) -> S3Store:
    return S3Store(
        BUCKET,
        endpoint=server.endpoint,
        virtual_hosted_style_request=not is_bucket,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
        **{name.lower(): value for name, value in KEYS.items()},  # type: ignore[arg-type]
    )


@dataclass
class Relay:
    """Stands between a store and its server: counts what passes, and fails as it is told."""

    server: S3
    num_bytes: int = 0
    """That the server sent."""
    requests: list[str] = field(default_factory=list)
    """The first line of each."""
    refuse: str = ""
    """Requests in whose first line this stands are answered 403."""
    cut_at: str = ""
    """The line is cut when a request comes in whose first line this stands in."""
    is_cut: bool = False
    """Nothing passes; who connects is sent away."""
    _open: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Its endpoint."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._start(self._accept, listener)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                self._threads[0].join()  # no line is opened any more
                self.cut()
                for thread in self._threads:
                    thread.join()
                for each in self._open:
                    each.close()

    def cut(self) -> None:
        self.is_cut = True
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        self.num_bytes, self.requests = 0, []

    def _start(self, target: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                if self.is_cut:
                    client.close()
                    continue
                address = urlsplit(self.server.endpoint)
                server = socket.create_connection((address.hostname, address.port))
                self._open += [client, server]
                self._start(self._pass, client, server, True)
                self._start(self._pass, server, client, False)

    def _pass(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                line = data.split(b"\r\n", 1)[0].decode("latin-1") if is_request else ""
                if line.endswith("HTTP/1.1"):
                    self.requests.append(line)
                    if self.cut_at and self.cut_at in line:
                        self.cut()
                    if self.refuse and self.refuse in line:
                        answer = b"<Error><Code>AccessDenied</Code></Error>"
                        head = f"HTTP/1.1 403 No\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n"
                        source.sendall(head.encode() + answer)
                        break
                if not is_request:
                    self.num_bytes += len(data)
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

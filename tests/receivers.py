"""A receiver of webhooks, as a client would run one."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.servers import listening


@dataclass(frozen=True)
class Received:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """What came, in order. `answer` says what each request is answered with: a status, and headers."""

    answer: Callable[[Received], tuple[int, dict[str, str]]] = lambda _: (200, {})
    came: list[Received] = field(default_factory=list)
    address: str = ""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def until(self, enough: Callable[[list[Received]], bool], seconds: float = 60) -> list[Received]:
        """What came, as soon as that is enough."""
        with self.changed:
            assert self.changed.wait_for(lambda: enough(self.came), seconds), [one.body for one in self.came]
            return list(self.came)


@contextlib.contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    """Listens on a free port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            status, headers = receiver.answer(received)
            with receiver.changed:  # ahead of the answer: who has it may look
                receiver.came.append(received)
                receiver.changed.notify_all()
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                for name, value in {"content-length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

    with listening(Handler) as address:
        receiver.address = address
        yield receiver

"""What a worker answers to those who look after it: figures for Prometheus, whether it lives, whether it can work."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from longtake import metrics
from longtake.errors import CallerError

log = structlog.get_logger("longtake.probes")
REQUEST_SECONDS: Final = 5.0
"""How long a client may take over its request."""
VARIABLE: Final = "LONGTAKE_METRICS_PORT"
Unready = Callable[[], str | None]
"""Says why the worker takes up no work now; None: it does."""


class Probes:
    """`/metrics`, `/healthz` and `/readyz`, in threads of their own: they answer while all else is busy."""

    def __init__(self, host: str, port: int, unready: Unready) -> None:
        """`port` 0 takes a free one. Raises CallerError where the port can't be had."""
        try:
            self._server = _Server(host, port, unready)
        except OSError as error:
            why = f"{VARIABLE}: can't listen on {host}:{port}: {error.strerror}"
            raise CallerError(why, field=VARIABLE) from None
        self.port: int = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="longtake-probes", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, unready: Unready) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.unready = unready
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks may go away at any time."""

    def why(self) -> str | None:
        try:
            return self.unready()
        except Exception as error:
            log.warning("could not tell whether the worker is ready", why=str(error)[:200])
            return "a look at the worker's state failed; its log tells more"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS
    server_version = "longtake"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, metrics.exposition(metrics.SHARED, metrics.WORKER), CONTENT_TYPE_LATEST)
        elif path == "/healthz":
            self._say(200, "ok")
        elif path == "/readyz":
            why = self.server.why()
            self._say(503 if why else 200, why or "ready")
        else:
            self._say(404, "there are /metrics, /healthz and /readyz")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None: ...

    def _say(self, status: int, text: str) -> None:
        self._answer(status, json.dumps({"status": text}).encode() + b"\n", "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)


__all__ = ["Probes"]

"""The processes of one machine: the front, and its worker as a child that is started again when it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import structlog
import uvicorn

from longtake.app import House, back, front
from longtake.errors import CallerError
from longtake.settings import PREFIX, Settings

log = structlog.get_logger("longtake.serving")
LONGEST_PAUSE_SECONDS = 30.0


def serve(house: House, *, with_worker: bool, tell: Callable[[str], None]) -> None:
    """Answers until it is told to stop. `tell` is given the address once the port is ours."""
    settings = house.settings
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise CallerError(f"can't listen on {settings.host}:{settings.port}: {error.strerror}", field="port") from None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    # The worker is started first: while it imports what it needs, the front does.
    child = WorkerChild(settings) if with_worker else None
    try:
        app = front(house)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=2,
                server_header=False,
                backlog=4096,
            )
        )
        tell(f"http://{host}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])
    finally:
        if child:
            child.stop()


def work(house: House, *, parent_on_stdin: bool) -> None:
    """Renders until it is told to stop, or until the parent's end of standard input closes: then the parent is gone."""
    # What runs now is left as it is: the next worker goes on with it, as after a kill.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    if parent_on_stdin:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    executor = back(house)
    executor.start()
    log.info("worker ready", pid=os.getpid())
    threading.Event().wait()


class WorkerChild:
    """Keeps one worker process alive."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._process = self._spawn()
        threading.Thread(target=self._watch, daemon=True, name="worker-watch").start()

    def stop(self) -> None:
        self._stopped.set()
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Settings given on the command line reach the child as variables; its standard input is the pipe
        # whose closing tells it that we are gone, even by kill -9.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        for name, value in self._settings.model_dump(exclude_none=True).items():
            environment[PREFIX + name.upper()] = str(value)
        return subprocess.Popen(
            [sys.executable, "-m", "longtake", "worker", "--parent-on-stdin"], env=environment, stdin=subprocess.PIPE
        )

    def _watch(self) -> None:
        pause = 0.1
        while not self._stopped.is_set():
            started = time.monotonic()
            code = self._process.wait()
            if self._stopped.is_set():
                return
            pause = 0.1 if time.monotonic() - started > LONGEST_PAUSE_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            log.error("worker died", code=code, again_in_seconds=pause)
            if not self._stopped.wait(pause):
                self._process = self._spawn()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)

"""The processes of one machine: the front, and its worker as a child that is started again when it dies."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn

from longtake import metrics, tracing
from longtake.app import House, back, front
from longtake.errors import CallerError
from longtake.media.memory import share_one_heap
from longtake.probes import Probes
from longtake.settings import PREFIX, Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from longtake.workflows import Executor

log = structlog.get_logger("longtake.serving")
LONGEST_PAUSE_SECONDS = 30.0
GRACE_SECONDS = 0.1
"""Whoever ends both of us may end the worker first: only after this is its end a surprise."""
WORKER_DRAIN_SECONDS = 25.0
"""Less than the 30 s after which Kubernetes kills."""
CHILD_DRAIN_SECONDS = 1.0
"""Who ends a server of his own does not want to wait: the step is done again at the next start."""
PARENTLESS_SECONDS = 2.0
"""Within so long a worker whose parent has died gives back what it had begun, and is gone."""
LATE_SECONDS = 5.0
"""So much longer than it was given to drain a worker may take to give back what it had begun, or to begin."""
PARENT_GONE = b"\0"
"""Beside the numbers of signals, of which none is 0."""
ANSWER_SECONDS = 10
"""How long what was asked of a front before its end was asked for may take to be answered."""
BACKLOG = 4096
"""Connections that may wait to be accepted."""
COLLECTIONS = (5_000, 10, 20)
"""When Python looks for garbage among what is new, what is older, and all. By its own thresholds it looks through all
several times a second where 1,000 clients come or go, and stops all threads for 0.2 to 0.3 s each time."""


def serve(house: House, *, with_worker: bool, tell: Callable[[str], None]) -> None:
    """Answers until SIGINT or SIGTERM, then exits with 0. `tell` is given the address once the port is ours and open.

    Raises CallerError where the port can't be had, StoreError where the store can't be used.
    """
    settings = house.settings
    house.store.check()
    tracing.set_up("front")
    listener = _listen(settings)
    was = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    child: WorkerChild | None = None
    try:
        # The worker is started first: while it imports what it needs, the front does.
        child = WorkerChild(settings) if with_worker else None
        server = Server(front(house), child)
        _keep_from_collector()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        tell(f"http://{host}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])
    finally:
        listener.close()
        if child:
            child.stop()
        for number, handler in was.items():
            signal.signal(number, handler)


def _listen(settings: Settings) -> socket.socket:
    """Open from now on: who comes before the front is ready waits in the backlog."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CallerError(f"can't listen on {settings.host}:{settings.port}: {error.strerror}", field="port") from None
    return listener


def _leave(_number: int, _frame: FrameType | None) -> None:
    # uvicorn raises its signal once more when it has stopped; as an exception it would end in a traceback, or in 1
    raise SystemExit(0)


class Server(uvicorn.Server):
    """uvicorn, that keeps the worker from being started again as soon as the end is asked for."""

    def __init__(self, app: FastAPI, child: WorkerChild | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=ANSWER_SECONDS,
                server_header=False,
                backlog=BACKLOG,
            )
        )
        self._child = child
        self._drain: Callable[[], None] = app.state.drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._child:
            self._child.leave()
        if self.should_exit:  # told once more
            self.force_exit = True
        # Who waits for a change is answered now: streams end, and their clients go on elsewhere, or at the next start.
        self._drain()
        super().handle_exit(sig, frame)


def work(house: House, *, able: Sequence[str] = (), concurrency: int = 1, parent_on_stdin: bool = False) -> None:
    """Renders until it is told to stop, or until the parent's end of standard input closes: then the parent is gone.

    Told so (SIGTERM, SIGINT) it lets what it does come to a step's end, gives the rest back to the queue, and ends
    with 0; told once more, at once, unless it has a parent: whoever ends both tells it twice. Raises CallerError for
    an engine that there is not, StoreError where the store can't be used.
    """
    # A thread that waits on a lock sleeps through a signal that came just before, or to another thread; not through
    # the byte that each signal writes here.
    heard, hears = os.pipe()
    os.set_blocking(hears, False)
    signal.set_wakeup_fd(hears)
    # Until it has begun there is nothing to give back.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # A parent hears the same Ctrl-C, and ends its worker itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN if parent_on_stdin else lambda *_: os._exit(0))
    gone = threading.Event()
    if parent_on_stdin:
        threading.Thread(target=_end_with_parent, args=(gone, hears), daemon=True).start()
    share_one_heap()
    house.store.check()
    tracing.set_up("worker")
    executor = back(house, able=able, concurrency=concurrency)
    metrics.open_worker(executor.engines, concurrency)
    port = _show_metrics(house.settings, executor)
    begun = threading.Event()
    for number in (signal.SIGTERM,) if parent_on_stdin else (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end_unless(begun))
    _keep_from_collector()
    executor.start()
    begun.set()
    log.info("worker ready", pid=os.getpid(), worker=executor.id, **({"metrics_port": port} if port else {}))
    os.read(heard, 1)
    seconds = _drain_seconds(house.settings, WORKER_DRAIN_SECONDS)
    threading.Thread(target=_drain, args=(executor, 0.0 if gone.is_set() else seconds), daemon=True).start()
    _wait(heard, PARENTLESS_SECONDS if gone.is_set() else seconds + LATE_SECONDS, told_once=parent_on_stdin)
    os._exit(0)


def _keep_from_collector() -> None:
    """What is there now stays as long as the process: it is not looked through for garbage any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


def _end_unless(begun: threading.Event) -> None:
    """Told to end while it begins: it goes on to where it can give back what it took, unless that never comes."""
    if not begun.is_set():
        timer = threading.Timer(LATE_SECONDS, lambda: None if begun.is_set() else os._exit(0))
        timer.daemon = True
        timer.start()


def _wait(heard: int, seconds: float, *, told_once: bool) -> None:
    """Until it is told to end at once, or so long: what drains may hang with the database.

    `told_once`: signals don't count, only the parent's end.
    """
    deadline = time.monotonic() + seconds
    while select.select([heard], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not told_once or PARENT_GONE in os.read(heard, 64):
            return


def _drain(executor: Executor, seconds: float) -> None:
    metrics.set_draining()
    try:
        executor.drain(seconds)
        tracing.shut_down()
    except Exception:
        log.exception("could not drain")
    finally:
        os._exit(0)


def _drain_seconds(settings: Settings, default: float) -> float:
    return default if settings.drain_seconds is None else settings.drain_seconds


def _show_metrics(settings: Settings, executor: Executor) -> int | None:
    """The port. Raises CallerError where it can't be had."""
    if settings.metrics_port is None:
        return None
    return Probes(settings.host, settings.metrics_port, executor.unready).port


class WorkerChild:
    """Keeps one worker process alive."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._drain_seconds = _drain_seconds(settings, CHILD_DRAIN_SECONDS)
        self._leaving = threading.Event()
        self._spawning = threading.Lock()
        self._process = self._spawn()
        threading.Thread(target=self._watch, daemon=True, name="worker-watch").start()

    def leave(self) -> None:
        """From now on a worker that ends is not started again."""
        self._leaving.set()

    def stop(self) -> None:
        self.leave()
        with self._spawning:
            self._process.terminate()
        try:
            self._process.wait(timeout=self._drain_seconds + 3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Settings given on the command line reach the child as variables; its standard input is the pipe
        # whose closing tells it that we are gone, even by kill -9. In a process group of its own, Ctrl-C on the
        # terminal does not reach it, not even while Python starts.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        for name, value in self._settings.model_dump(exclude_none=True).items():
            environment[PREFIX + name.upper()] = str(value)
        environment[f"{PREFIX}DRAIN_SECONDS"] = str(self._drain_seconds)
        return subprocess.Popen(
            [sys.executable, "-m", "longtake", "worker", "--parent-on-stdin"],
            env=environment,
            stdin=subprocess.PIPE,
            process_group=0,
        )

    def _watch(self) -> None:
        pause = 0.1
        while True:
            started = time.monotonic()
            code = self._process.wait()
            pause = 0.1 if time.monotonic() - started > LONGEST_PAUSE_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            if self._leaving.wait(GRACE_SECONDS):
                return
            log.error("worker died", code=code, again_in_seconds=pause)
            if self._leaving.wait(pause):
                return
            with self._spawning:
                if self._leaving.is_set():
                    return
                self._process = self._spawn()


def _end_with_parent(gone: threading.Event, told: int) -> None:
    sys.stdin.buffer.read()
    gone.set()
    os.write(told, PARENT_GONE)
    # Where it has not begun, or is draining: nobody waits for it any more.
    time.sleep(PARENTLESS_SECONDS)
    os._exit(0)

"""Processes of a service under supervisors: each is killed, frozen or told to end, and started again a moment later."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil  # type: ignore[import-untyped]

from tests.postgres import PostgresServer

Kind = Literal["worker", "front", "postgres"]
MOMENT_SECONDS = (0.2, 2.0)
"""After so long a supervisor starts a dead process again."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How one life of a process ended."""

    name: str
    code: int
    at: float
    """In Unix seconds."""
    asked: str
    """kill, end, or nothing: it ended by itself."""
    was_ready: bool
    pid: int


class Victim(Protocol):
    """What mischief can be done to."""

    name: str
    kind: Kind

    @property
    def is_well(self) -> bool:
        """It runs, is not frozen, and has begun its work."""

    @property
    def pid(self) -> int: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


@dataclass
class Member:
    """A worker or a front. Its log is appended to from one life to the next."""

    name: str
    kind: Kind
    arguments: Sequence[str]
    environment: dict[str, str]
    folder: Path
    rng: random.Random
    exits: list[Exit] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _asked: str = ""
    _is_frozen: bool = False
    _is_leaving: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def said(self) -> Path:
        """What this life has written on standard output."""
        return self.folder / f"{self.name}.out"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def address(self) -> str:
        """Of a front that listens."""
        with contextlib.suppress(FileNotFoundError):
            if found := re.search(r"^Longtake\s+(http\S+)$", self.said.read_text(), re.MULTILINE):
                return found[1]
        return ""

    @property
    def is_ready(self) -> bool:
        if self.kind == "front":
            return bool(self.address)
        return any(line.get("pid") == self.pid for line in self.lines("worker ready"))

    @property
    def is_well(self) -> bool:
        is_up = self._process is not None and self._process.poll() is None
        return is_up and not self._asked and not self._is_frozen and self.is_ready

    def lines(self, *events: str) -> Iterator[dict[str, Any]]:
        """Of its log; all that are one, where no event is named."""
        with contextlib.suppress(FileNotFoundError):
            for line in self.log.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict) and (not events or found.get("event") in events):
                        yield found

    def start(self) -> None:
        self._spawn()
        self._thread = threading.Thread(target=self._supervise, name=f"supervises {self.name}")
        self._thread.start()

    def kill(self) -> None:
        self._ask("kill", signal.SIGKILL)

    def end(self) -> None:
        """SIGTERM."""
        self._ask("end", signal.SIGTERM)

    def freeze(self) -> None:
        self._is_frozen = True
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._is_frozen = False
        self._send(signal.SIGCONT)

    def leave(self) -> None:
        """It is not started again when it ends."""
        self._is_leaving.set()

    def close(self) -> None:
        """By force, with whatever it has started."""
        self.leave()
        with self._lock:
            if self._process and self._process.poll() is None:
                self._asked = "kill"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        if self._thread:
            self._thread.join()

    def _ask(self, what: str, how: signal.Signals) -> None:
        with self._lock:
            self._asked = what
            self._send(how)

    def _send(self, how: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)

    def _spawn(self) -> None:
        with self._lock, self.log.open("ab") as log, self.said.open("wb") as said:
            log.write(b"\n")  # a line that was cut off stays one of its own
            log.flush()
            self._asked, self._is_frozen = "", False
            command = [sys.executable, "-m", "longtake", *self.arguments]
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=said, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def _supervise(self) -> None:
        while True:
            process = self._process
            assert process
            code = process.wait()
            at, was_ready = time.time(), self.is_ready
            with self._lock:
                self.exits.append(Exit(self.name, code, at, self._asked, was_ready, process.pid))
                if self.kind == "front":
                    self.said.write_bytes(b"")
            if self._is_leaving.wait(self.rng.uniform(*MOMENT_SECONDS)):
                return
            self._spawn()


class Database:
    """Postgres under a supervisor."""

    name: str = "postgres"
    kind: Kind = "postgres"

    def __init__(self, server: PostgresServer, rng: random.Random) -> None:
        self.server = server
        self.outages: list[tuple[float, float]] = []
        """From when to when it did not answer."""
        self._rng = rng
        self._since: float | None = None
        self._starting: threading.Thread | None = None
        self._is_over = False

    @property
    def is_well(self) -> bool:
        return self._since is None

    @property
    def pid(self) -> int:
        return self.server.pid

    def kill(self) -> None:
        self._since = time.time()
        self.server.kill9()
        self._starting = threading.Thread(target=self._start, args=(self._rng.uniform(*MOMENT_SECONDS),))
        self._starting.start()

    def freeze(self) -> None:
        self._since = time.time()
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()
        self._is_back()

    def was_away(self, start: float, stop: float) -> bool:
        """At some time between these."""
        now = [(self._since, time.time())] if self._since is not None else []
        return any(begin < stop and end > start for begin, end in [*self.outages, *now])

    def close(self) -> None:
        self._is_over = True
        if self._starting:
            self._starting.join()
        self.server.kill9()

    def _start(self, moment_seconds: float) -> None:
        time.sleep(moment_seconds)
        if not self._is_over:
            self.server.start()
            self._is_back()

    def _is_back(self) -> None:
        assert self._since is not None
        self.outages.append((self._since, time.time()))
        self._since = None


def leftovers(folder: Path) -> list[psutil.Process]:
    """Processes of this service that are still there: children that have outlived those who started them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LONGTAKE_DATA", "").startswith(str(folder)):
                found.append(process)
    return found


__all__ = ["Database", "Exit", "Kind", "Member", "Victim", "leftovers"]

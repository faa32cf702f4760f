"""Who is alive: each worker holds a lock that the kernel drops when it dies, and every worker looks for those of whom
work is still running that hold none.

Not rows that are refreshed: a step that holds Python's lock for longer than a row lives makes two workers take the work
from each other for ever. A lock needs no thread of ours to run: the kernel, or Postgres, answers for it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import structlog

from longtake.dialects import is_postgres
from longtake.workflows import names

log = structlog.get_logger("longtake.workflows")
CLASS = 0x4C54
"""Our advisory locks' first number; the second one is a hash of the worker's id."""
SILENT_SECONDS = 10.0
"""A look that has not come back for so long hangs: the database is there, and does not answer."""
HELD = """
SELECT id FROM unnest(%s::text[]) AS asked (id) WHERE EXISTS (
  SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database AND datname = current_database()
  WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = %s
    AND objid = ((hashtext(asked.id)::bigint) & 4294967295)::oid)
"""


class Locks(Protocol):
    """One lock for each living worker."""

    is_sure: bool
    """Whether a lock that is not held means death at once; otherwise it may have been lost on the way."""

    def hold(self, id: str) -> None:
        """Takes this worker's own, and keeps it until the process dies or releases it."""

    def held(self, ids: Collection[str]) -> set[str]:
        """Those of these workers that are alive. Raises where it can't be known just now."""

    def forget(self, id: str) -> None:
        """Removes what a dead one has left."""

    def release(self) -> None: ...


def worker_id() -> str:
    """Unlike that of any other process that ever was: machine, process, and chance."""
    host = re.sub(r"[^A-Za-z0-9.]", "", socket.gethostname())[:40] or "worker"
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


def locks_of(url: str, folder: Path | None = None) -> Locks:
    """For a database on Postgres its own locks; beside a SQLite file those on files, in `folder` where it is given."""
    if is_postgres(url):
        return PostgresLocks(names.database_address(url))
    return FileLocks(folder or beside(url))


def beside(url: str) -> Path:
    """The folder of the locks of all who use this SQLite file."""
    return Path(url.partition("///")[2].partition("?")[0]).parent / "workers"


class FileLocks:
    """POSIX locks: children don't inherit them, and the kernel drops them with the process. On one machine only."""

    is_sure = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._id = ""
        self._file: IO[str] | None = None

    def hold(self, id: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f".{id}"  # nobody looks at it before it is locked
        self._file = draft.open("w")
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self._folder / id)
        self._id = id

    def held(self, ids: Collection[str]) -> set[str]:
        return {id for id in ids if id == self._id or self._is_held(id)}

    def forget(self, id: str) -> None:
        (self._folder / id).unlink(missing_ok=True)

    def release(self) -> None:
        if self._file:
            self.forget(self._id)
            self._file.close()
            self._file, self._id = None, ""

    def _is_held(self, id: str) -> bool:
        try:
            file = (self._folder / id).open("r+")
        except FileNotFoundError:
            return False
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
            return False


class PostgresLocks:
    """Session advisory locks, on a connection of their own. Not through a pooler that shares sessions out."""

    is_sure = False

    def __init__(self, address: str) -> None:
        """`address` as libpq takes it: its keepalives decide how soon a machine that has vanished is noticed."""
        import psycopg

        self._id = ""
        self._connect = partial(psycopg.connect, address, autocommit=True)
        self._connection: psycopg.Connection | None = None
        self._has_lock = False

    def hold(self, id: str) -> None:
        self._id = id
        self._hold()

    def held(self, ids: Collection[str]) -> set[str]:
        try:
            if self._connection is None or self._connection.closed or not self._has_lock:
                self._hold()
            assert self._connection
            return {row[0] for row in self._connection.execute(HELD, (list(ids), CLASS))}
        except BaseException:
            self._drop()
            raise

    def forget(self, id: str) -> None: ...

    def release(self) -> None:
        self._drop()

    def _hold(self) -> None:
        """The same lock again, on another connection: as long as the server has not noticed the end of the old one, it
        is that one's, and we are as good as alive.
        """
        if self._connection is None or self._connection.closed:
            self._connection = self._connect(application_name=f"longtake {self._id}"[:63])
            self._connection.execute("SET idle_session_timeout = 0")
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (CLASS, self._id)).fetchone()
        self._has_lock = bool(row and row[0])

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._has_lock = None, False


class Watch:
    """A thread that gives back what dead workers had begun. In every worker: any number of them may do it at once."""

    def __init__(
        self,
        id: str,
        locks: Locks,
        busy: Callable[[], Iterable[str]],
        bury: Callable[[Collection[str]], None],
        *,
        grace_seconds: float,
    ) -> None:
        """`busy`: the workers of whom work runs, or that are still in the books. `bury`: called with the dead of them.

        One whose lock is missing for `grace_seconds` is dead; at once where the locks are sure.
        """
        self._id = id
        self._locks = locks
        self._busy = busy
        self._bury = bury
        self._grace = 0.0 if locks.is_sure else grace_seconds
        self.look_seconds = min(2.0, max(0.1, self._grace / 5)) if self._grace else 0.5
        self._missing: dict[str, float] = {}
        self._looked_at = 0.0
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="longtake-liveness", daemon=True)

    def hold(self) -> None:
        """Ahead of the first work that is taken."""
        self._locks.hold(self._id)

    def start(self) -> None:
        self._thread.start()

    def release(self) -> None:
        """Nothing is left to take up."""
        self._stop.set()
        self._locks.release()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._locks.release()

    def unready(self) -> str | None:
        """Why this worker can't be relied on just now: the database, or its own lock there, is away. None: it can."""
        if self._looked_at == 0.0:
            return "it has not reached the database yet"
        silent = time.monotonic() - self._looked_at > SILENT_SECONDS
        return "the database, or this worker's lock there, is away" if self._is_away or silent else None

    def look(self) -> None:
        """Once: who is missing, and who has been for too long."""
        others = {id for id in self._busy() if id != self._id}
        held, now = self._locks.held(others), time.monotonic()
        if now - self._looked_at > max(self._grace / 2, 3 * self.look_seconds):
            self._missing.clear()  # we did not look for a while: they may have been there meanwhile
        self._looked_at = now
        self._missing = {id: self._missing.get(id, now) for id in others - held}
        dead = [id for id, since in self._missing.items() if now - since >= self._grace]
        if dead:
            self._bury(dead)
            for id in dead:
                self._locks.forget(id)
                log.warning("a worker has died: what it had begun is in the queue again", worker=id)

    def _go_on(self) -> None:
        while True:
            try:
                self.look()
                if self._is_away:
                    self._is_away = False
                    log.warning("dead workers are looked for again")
            except Exception as error:
                self._missing.clear()  # nobody could hold a lock there meanwhile
                if not self._is_away:
                    self._is_away = True
                    log.warning("can't look for dead workers just now, and tries on", problem=str(error))
            if self._stop.wait(self.look_seconds):
                return

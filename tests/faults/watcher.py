"""Looks on while a service runs: what the dead have left, who took it over and when, and what was kept meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from tests.faults.members import Database

LOOK_SECONDS = 0.1
OVER = {"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"}


@dataclass(slots=True)
class Takeover:
    """Work that a worker had begun when it was killed."""

    workflow: str
    owner: str
    killed_at: float
    returned_at: float | None = None
    """When it was in the queue again."""
    taken_at: float | None = None
    """When another run of it had begun."""


class Watcher:
    """Looks into the database, as long as there is one, at what the dead have left and at what steps have given."""

    def __init__(self, url: str, database: Database) -> None:
        self._url, self._database = url, database
        self.takeovers: list[Takeover] = []
        self.kept: dict[tuple[str, int], str] = {}
        """What each step's result was when it was first seen."""
        self.complaints: list[str] = []
        self._dead: list[tuple[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def killed(self, worker: str, at: float) -> None:
        self._dead.append((worker, at))

    def _go_on(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=2) as connection:
                    while not self._stop.wait(LOOK_SECONDS):
                        self._look(connection)
            except psycopg.Error:
                self._stop.wait(LOOK_SECONDS)

    def _look(self, connection: psycopg.Connection) -> None:
        pending = "select workflow_uuid, owner_xid from dbos.workflow_status where executor_id = %s"
        mine = f"{pending} and status = 'PENDING' and name = 'generation'"
        while self._dead:
            worker, at = self._dead[0]
            self.takeovers += [Takeover(id, owner, at) for id, owner in connection.execute(mine, (worker,))]
            self._dead.pop(0)
        if waiting := {one.workflow: one for one in self.takeovers if one.taken_at is None}:
            now = "select workflow_uuid, owner_xid, status from dbos.workflow_status where workflow_uuid = any(%s)"
            for id, owner, status in connection.execute(now, (list(waiting),)):
                one = waiting[id]
                if owner != one.owner:
                    one.returned_at = one.returned_at or time.time()
                    if status == "PENDING" or status in OVER:
                        one.taken_at = time.time()

    def remember(self) -> None:
        """What is kept now: it must be the same at the end. Where the database is away, another time will do."""
        try:
            with psycopg.connect(self._url, autocommit=True, connect_timeout=1) as connection:
                connection.execute("set statement_timeout = '2s'")
                for id, number, _, output, _ in steps_of(connection):
                    self.compare((id, number), output)
        except psycopg.Error:
            return

    def compare(self, step: tuple[str, int], output: str) -> None:
        if self.kept.setdefault(step, output) != output:
            self.complaints.append(f"the kept result of {step} was changed")

    def seconds(self) -> tuple[list[float], list[float]]:
        """From kill to queue, and from kill to takeover, where Postgres did not add to it."""
        clear = [
            one for one in self.takeovers
            if one.taken_at and not self._database.was_away(one.killed_at - 3, one.taken_at)
        ]  # fmt: skip
        returned = [(one.returned_at or 0) - one.killed_at for one in clear]
        return returned, [(one.taken_at or 0) - one.killed_at for one in clear]


def steps_of(connection: psycopg.Connection) -> Iterable[tuple[str, int, str, str, float]]:
    """All results that are kept: workflow, number, name, result, and when it was there, in Unix seconds."""
    query = "select workflow_uuid, function_id, function_name, output, completed_at_epoch_ms / 1000.0"
    where = "error is null and workflow_uuid not like 'webhook%'"
    for row in connection.execute(f"{query} from dbos.operation_outputs where {where}"):
        yield row[0], row[1], row[2], row[3], float(row[4])

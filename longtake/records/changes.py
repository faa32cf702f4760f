"""What changed, as it changes: one watcher for a process, however many clients wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from longtake.records.database import read_only
from longtake.records.tables import events

PAUSE_SECONDS = 0.01
"""How long the watcher rests between two looks. A look is one PRAGMA that reads a counter in shared memory."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event."""

    id: int
    generation_id: str
    account: str
    type: str
    data: dict[str, Any]


class Changes:
    """Reads events, and calls back for new ones that any process wrote."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = read_only(engine)

    def close(self) -> None:
        self._engine.dispose()

    def last_id(self) -> int:
        with self._engine.begin() as connection:
            return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(events.c.id), 0))).scalar_one())

    def after(
        self,
        id: int,
        *,
        account: str | None = None,
        generation_id: str | None = None,
        limit: int = 1000,
    ) -> list[Change]:
        """Events with a greater id, in order."""
        query = sa.select(events).where(events.c.id > id).order_by(events.c.id).limit(limit)
        if account is not None:
            query = query.where(events.c.account == account)
        if generation_id is not None:
            query = query.where(events.c.generation_id == generation_id)
        with self._engine.begin() as connection:
            return [
                Change(row.id, row.generation_id, row.account, row.type, row.data) for row in connection.execute(query)
            ]

    def watch(self, tell: Callable[[list[Change]], None], stop: threading.Event, *, after: int | None = None) -> None:
        """Calls `tell` with each batch of new events until `stop` is set. Blocks: give it a thread of its own.

        New is what comes after the event `after`, or else after this call.

        SQLite has no notification across processes, but counts commits in shared memory (`PRAGMA data_version`):
        reading that counter costs a few microseconds, and only where it moved are the events read.
        """
        last, version = self.last_id() if after is None else after, -1
        with self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            while not stop.is_set():
                (seen,) = raw.execute("PRAGMA data_version").fetchone()
                if seen != version:
                    version = seen
                    while batch := self.after(last):
                        last = batch[-1].id
                        tell(batch)
                time.sleep(PAUSE_SECONDS)

"""What changed, as it changes: one watcher for a process, however many clients wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.errors import DatabaseError
from longtake.records.database import RETRY_SECONDS
from longtake.records.events import CHANNEL
from longtake.records.tables import events

PAUSE_SECONDS = 0.01
"""How long the watcher rests between two looks."""
LOOK_SECONDS = 0.25
"""On Postgres, the watcher looks this often at least: progress is told by no notification."""
GAP_SECONDS = 60.0
"""So long an event may be missing whose number is taken: no transaction lasts longer (`database.SESSION`)."""
MOST_GAPS = 2000
BATCH = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One event."""

    id: int
    generation_id: str
    account: str
    type: str
    data: dict[str, Any]


Tell = Callable[[list[Change]], None]


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
        limit: int = BATCH,
    ) -> list[Change]:
        """Events with a greater id, in order."""
        query = sa.select(events).where(events.c.id > id).order_by(events.c.id).limit(limit)
        if account is not None:
            query = query.where(events.c.account == account)
        if generation_id is not None:
            query = query.where(events.c.generation_id == generation_id)
        return self._read(query)

    def watch(self, tell: Tell, stop: threading.Event, *, after: int | None = None) -> None:
        """Calls `tell` with each batch of new events until `stop` is set. Blocks: give it a thread of its own.

        New is what comes after the event `after`, or else after this call. An account's events but those of progress
        come in the order of their ids, and so do those of a generation.
        """
        last = self.last_id() if after is None else after
        if self._engine.dialect.name == "postgresql":
            self._watch_postgres(tell, stop, last)
        else:
            self._watch_sqlite(tell, stop, last)

    def _watch_sqlite(self, tell: Tell, stop: threading.Event, last: int) -> None:
        """SQLite has no notification across processes, but counts commits in shared memory (`PRAGMA data_version`):
        reading that counter costs a few microseconds, and only where it moved are the events read."""
        version = -1
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

    def _watch_postgres(self, tell: Tell, stop: threading.Event, last: int) -> None:
        """Events are numbered as they are written, and seen as they are committed: one with a lower number may come
        later. So numbers that are missing are asked for again, for as long as a transaction may last."""
        gaps: dict[int, float] | None = None
        is_away = False
        while not stop.is_set():
            try:
                gaps = self._gaps_before(last) if gaps is None else gaps
                with self._listen() as listening:
                    if is_away:
                        is_away = False
                        log.warning("the watcher of changes has the database again")
                    while not stop.is_set():
                        while batch := self._news(last, gaps):
                            last = max(last, batch[-1].id)
                            tell(batch)
                        stop.wait(PAUSE_SECONDS)
                        if not list(listening.notifies(timeout=0)):
                            list(listening.notifies(timeout=LOOK_SECONDS, stop_after=1))
            except (psycopg.Error, DatabaseError) as error:
                if not is_away:
                    is_away = True
                    why = str(error).partition("\n")[0]
                    log.warning("the watcher of changes lost the database, and tries on: %s", why)
                stop.wait(RETRY_SECONDS)

    def _listen(self) -> psycopg.Connection[Any]:
        """A connection of the watcher's own that hears of each commit which tells anything but progress."""
        pooled = self._engine.raw_connection()
        listening = pooled.driver_connection
        pooled.detach()
        assert isinstance(listening, psycopg.Connection)
        listening.autocommit = True
        listening.execute(f"LISTEN {CHANNEL}")
        return listening

    def _gaps_before(self, last: int) -> dict[int, float]:
        """The numbers not long before `last` that no event has yet, each with when it was first missed."""
        since = max(0, last - BATCH)
        there = sa.select(events.c.id).where(events.c.id > since, events.c.id <= last)
        with self._engine.begin() as connection:
            found = set(connection.execute(there).scalars())
        return dict.fromkeys((id for id in range(since + 1, last) if id not in found), time.monotonic())

    def _news(self, last: int, gaps: dict[int, float]) -> list[Change]:
        """Events after `last`, and those that were missing; `gaps` is brought up to date."""
        now = time.monotonic()
        for id in [id for id, at in gaps.items() if at < now - GAP_SECONDS]:
            del gaps[id]
        new = sa.or_(events.c.id > last, events.c.id.in_(gaps)) if gaps else events.c.id > last
        batch = self._read(sa.select(events).where(new).order_by(events.c.id).limit(BATCH))
        for change in batch:
            gaps.pop(change.id, None)
            gaps.update(dict.fromkeys(range(max(last + 1, change.id - MOST_GAPS), change.id), now))
            last = max(last, change.id)
        for id in list(gaps)[: max(0, len(gaps) - MOST_GAPS)]:
            del gaps[id]
        return batch

    def _read(self, query: sa.Select[*tuple[Any, ...]]) -> list[Change]:
        with self._engine.begin() as connection:
            return [
                Change(row.id, row.generation_id, row.account, row.type, row.data) for row in connection.execute(query)
            ]

"""What those see who run the house: queues, what is being rendered; and events that are forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from longtake.records.generation import UNENDED
from longtake.records.rates import MINUTE_SECONDS
from longtake.records.tables import events, generations, parents

FORGOTTEN_AT_ONCE = 500
"""Generations whose events go in one transaction: others write between two of them."""
HOUR_SECONDS = 3600.0


class Running(NamedTuple):
    """A generation that is being rendered."""

    id: str
    account: str
    engine: str
    stage: str
    progress: float
    started_at: float
    """In Unix seconds."""


class SeenRecords:
    """Reads across all accounts. Who inherits from it opens the database."""

    _engine: sa.Engine
    _reader: sa.Engine

    def unfinished(self) -> list[tuple[str, int]]:
        """`(id, attempt)` of all that have not ended and wait for no parent: each should have a live workflow."""
        query = sa.select(generations.c.id, generations.c.attempt)
        with self._reader.begin() as connection:
            rows = connection.execute(query.where(generations.c.state.in_(UNENDED), ~_waits()))
            return [(id, attempt) for id, attempt in rows]

    def waiting_by_engine(self, in_hand: Collection[str]) -> dict[str, tuple[int, float]]:
        """Of each engine: how many wait for a worker, and since when the oldest of them (Unix seconds).

        They are queued and wait for no parent, or were begun and no living worker has them `in_hand` (ids).
        """
        columns = generations.c.engine, sa.func.count(), sa.func.min(generations.c.ordered_at)
        query = sa.select(*columns).where(generations.c.state == "queued", ~_waits()).group_by(generations.c.engine)
        with self._reader.begin() as connection:
            waiting = {engine: (count, oldest) for engine, count, oldest in connection.execute(query)}
        for one in self.running():
            if one.id not in in_hand:
                count, oldest = waiting.get(one.engine, (0, one.started_at))
                waiting[one.engine] = count + 1, min(oldest, one.started_at)
        return waiting

    def running(self) -> list[Running]:
        """What is being rendered now, the longest first."""
        columns = [generations.c[name] for name in Running._fields]
        query = sa.select(*columns).where(generations.c.state == "dreaming").order_by(generations.c.started_at)
        with self._reader.begin() as connection:
            return [Running(*row) for row in connection.execute(query)]

    def ended_lately(self, now: float) -> dict[str, tuple[int, int]]:
        """Of each engine: how many ended in the last minute, and how many failed in the last hour by no cancel."""
        last_minute = sa.case((generations.c.ended_at >= now - MINUTE_SECONDS, 1), else_=0)
        has_failed = (generations.c.state == "failed") & (generations.c.failure_kind != "cancelled")
        query = (
            sa.select(generations.c.engine, sa.func.sum(last_minute), sa.func.sum(sa.case((has_failed, 1), else_=0)))
            .where(generations.c.ended_at >= now - HOUR_SECONDS)
            .group_by(generations.c.engine)
        )
        with self._reader.begin() as connection:
            return {engine: (int(ended), int(failed)) for engine, ended, failed in connection.execute(query)}

    def forget_events(self, before: float) -> int:
        """Removes events of generations that ended before then (Unix seconds), but the last of each: how many went."""
        later = events.alias("later")
        is_last = ~sa.exists().where(later.c.generation_id == events.c.generation_id, later.c.id > events.c.id)
        num_gone = 0
        for ids in self._ended_before(before):
            told = sa.select(events.c.generation_id).where(events.c.generation_id.in_(ids))
            told = told.group_by(events.c.generation_id).having(sa.func.count() > 1)
            with self._reader.begin() as connection:
                several = list(connection.execute(told).scalars())
            if several:
                with self._engine.begin() as connection:
                    gone = sa.delete(events).where(events.c.generation_id.in_(several), ~is_last)
                    num_gone += connection.execute(gone).rowcount
        return num_gone

    def _ended_before(self, before: float) -> Iterator[list[str]]:
        """The ids of generations that ended before then, a page at a time, each found where the last one ended."""
        place = generations.c.ended_at, generations.c.id
        query = sa.select(*place).where(generations.c.ended_at < before).order_by(*place).limit(FORGOTTEN_AT_ONCE)
        here: list[sa.ColumnElement[bool]] = []
        while True:
            with self._reader.begin() as connection:
                page = connection.execute(query.where(*here)).all()
            if not page:
                return
            yield [id for _, id in page]
            here = past(place, page[-1])


def past(place: Sequence[sa.Column[Any]], last: Sequence[Any]) -> list[sa.ColumnElement[bool]]:
    """What comes after the row `last` in the order of the columns `place`, of which an index holds the first one."""
    return [place[0] >= last[0], sa.tuple_(*place) > sa.tuple_(*map(sa.literal, last))]


def _waits() -> sa.ColumnElement[bool]:
    """Whether a parent of the generation still runs."""
    running = generations.alias("running")
    return sa.exists().where(
        parents.c.child_id == generations.c.id, running.c.id == parents.c.parent_id, running.c.state.in_(UNENDED)
    )

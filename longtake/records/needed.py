"""Which objects the records need, and which rows nobody needs any more: what `garbage` goes by.

Why an object that is needed by none stays so, and may be deleted though orders come and go meanwhile:

- A result never changes, and what it names is either its generation's own, or named by a parent's result, or an
  upload's. So what is named for the first time by a *new* result lies under the id of a generation that has not ended,
  all of whose objects are needed, or is named by the result of a parent.
- A parent can be extended until it is deleted; those that extend it then are there already, and as long as one of them
  has not ended, the parent's result counts as if it were not deleted (`_in_use`). Deleting is never undone.
- A retry is another attempt with another workflow: steps that an older one has kept, and their objects, are never used
  again; and it is refused where a parent was deleted. Objects are named by the run that makes them.
- An upload's object is put ahead of its record: its age keeps it until then. One that came in parts may be as old as
  its last byte: the record of its parts keeps it.

All this holds for what one snapshot of the database says, so that each answer comes from one.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.errors import ConflictError, DatabaseError
from longtake.records.generation import UNENDED
from longtake.records.repeats import KEPT_SECONDS
from longtake.records.seen import past
from longtake.records.tables import creates, events, generations, keys, parents, partial_uploads, uploads

KINDS: Final = frozenset({"exports", "images", "live", "partial", "segments", "sources", "stills", "uploads", "videos"})
"""The first words of keys that are ours to judge."""
MADE_LATER: Final = "exports"
"""What is made of a finished video when somebody asks for it: no record names it."""
ROWS: Final = 500
"""That are removed in one commit."""
_LOCK: Final = 0x4C54_4743  # "LTGC"
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EARLIER: Final = re.compile(r"sources/[^/]+")
"""Footage of an upload as it was called before its record named it."""
_NAMED: Final = re.compile(rf'"((?:{"|".join(sorted(KINDS))})/[^"]+)"')


def ids_in(key: str) -> list[str]:
    """The ids of generations and uploads that a key is made of; none where it is not one of ours."""
    return _ID.findall(key) if key.partition("/")[0] in KINDS else []


class Needs:
    """Asks the records of all accounts, in snapshots of the database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._is_postgres = engine.dialect.name == "postgresql"
        # On Postgres `read_only` gives each statement a snapshot of its own; on SQLite the transaction has one.
        snapshots = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = engine.execution_options(**snapshots) if self._is_postgres else read_only(engine)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process is in here meanwhile. Raises ConflictError where one is. The kernel ends it with us.

        This is for thrift alone: two at once would ask and delete the same things twice.
        """
        if self._is_postgres:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_LOCK))):
                    raise _taken()
                try:
                    yield
                finally:
                    try:
                        connection.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK)))
                    except DatabaseError:  # what was done is to be told all the same; the lock ends with the connection
                        connection.invalidate()
            return
        with Path(f"{self._engine.url.database}.gc").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise _taken() from None
            yield

    def of(self, wanted: Collection[str]) -> set[str]:
        """Of these keys, a thousand or so, those whose objects are needed."""
        by_id: dict[str, set[str]] = {}
        for key in wanted:
            for id in ids_in(key):
                by_id.setdefault(id, set()).add(key)
        with self._snapshot() as connection:
            needed = _of_uploads(connection, by_id)
            needed |= _of_their_own(connection, by_id)
            rest = {id: own - needed for id, own in by_id.items() if own - needed}
            return needed | _of_others(connection, rest)

    def unended(self, ids: Collection[str]) -> set[str]:
        """Of these generations, those that have not ended."""
        query = sa.select(generations.c.id).where(generations.c.id.in_(ids), generations.c.state.in_(UNENDED))
        with self._snapshot() as connection:
            return set(connection.execute(query).scalars())

    # ---- rows

    def old_creates(self, now: float) -> int:
        """How many are remembered though no repeat of them counts any more."""
        return self._count(creates, creates.c.created_at < now - KEPT_SECONDS)

    def forget_creates(self, now: float) -> int:
        return self._remove((creates.c.account, creates.c.name), creates.c.created_at < now - KEPT_SECONDS)

    def old_events(self, before: float) -> int:
        """How many events `Records.forget_events` would remove."""
        return self._count(events, _old_event(before))

    def old_generations(self, before: float) -> int:
        """How many were deleted before then and are needed for nothing: a first look, for with them others go."""
        return self._count(generations, _forgettable(before))

    def forget_generations(self, before: float) -> int:
        """Removes them: children first, and then their parents, where nothing else holds those."""
        place, above = (generations.c.deleted_at, generations.c.id), set[str]()

        def with_all_of_it(connection: sa.Connection, ids: Collection[str]) -> None:
            extended = sa.select(parents.c.parent_id).where(parents.c.child_id.in_(ids))
            above.update(connection.execute(extended).scalars())
            connection.execute(sa.delete(events).where(events.c.generation_id.in_(ids)))
            connection.execute(sa.delete(parents).where(parents.c.child_id.in_(ids)))

        num = self._remove(place, _forgettable(before), with_all_of_it)
        while above:  # those that were passed by while they had children: it grows as chains are climbed
            some = [above.pop() for _ in range(min(ROWS, len(above)))]
            num += self._remove(place, sa.and_(_forgettable(before), generations.c.id.in_(some)), with_all_of_it)
        return num

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        with self._reader.begin() as connection:
            self._take_time(connection)
            yield connection

    def _take_time(self, connection: sa.Connection) -> None:
        """What looks at a whole table takes longer than a client would wait."""
        if self._is_postgres:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")

    def _count(self, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
        with self._snapshot() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(where)).scalar_one())

    def _remove(
        self,
        place: tuple[sa.Column[Any], sa.Column[str]],
        where: sa.ColumnElement[bool],
        ahead: Callable[[sa.Connection, Collection[str]], None] = lambda *_: None,
    ) -> int:
        """In the order of `place`, whose second column is the name; a few at a time: others write in between."""
        order, name = place
        query = sa.select(*place).where(where).order_by(*place).limit(ROWS)
        here: list[sa.ColumnElement[bool]] = []
        num = 0
        while True:
            with self._engine.begin() as connection:
                self._take_time(connection)
                page = connection.execute(query.where(*here)).all()
                if not page:
                    return num
                names = [row[1] for row in page]
                ahead(connection, names)
                these = order.between(page[0][0], page[-1][0]), name.in_(names), where
                num += connection.execute(sa.delete(name.table).where(*these)).rowcount
            here = past(place, page[-1])


def _of_uploads(connection: sa.Connection, by_id: dict[str, set[str]]) -> set[str]:
    """What uploads need: their files, and the footage that was made of them, which any order may name."""
    needed: set[str] = set()
    query = sa.select(uploads.c.id, uploads.c.key, sa.cast(uploads.c.footage, sa.Text)).where(uploads.c.id.in_(by_id))
    for id, key, footage in connection.execute(query):
        named = _named(footage) | {key}
        needed |= {own for own in by_id[id] if own in named or _EARLIER.fullmatch(own)}
    query = sa.select(partial_uploads.c.id).where(partial_uploads.c.id.in_(by_id))
    for id in connection.execute(query).scalars():
        needed |= {own for own in by_id[id] if own.startswith(("uploads/", "partial/"))}
    return needed


def _of_their_own(connection: sa.Connection, by_id: dict[str, set[str]]) -> set[str]:
    """What the generations need whose ids stand in the keys: each for itself."""
    needed: set[str] = set()
    unended = sa.select(generations.c.id).where(generations.c.id.in_(by_id), generations.c.state.in_(UNENDED))
    for id in connection.execute(unended).scalars():
        needed |= by_id[id]
    living = sa.select(generations.c.id, sa.cast(generations.c.result, sa.Text)).where(
        generations.c.id.in_(by_id), generations.c.state == "completed", generations.c.deleted_at.is_(None)
    )
    for id, result in connection.execute(living.execution_options(yield_per=100)):
        needed |= {key for key in by_id[id] if f'"{key}"' in result or key.startswith(f"{MADE_LATER}/")}
    return needed


def _of_others(connection: sa.Connection, by_id: dict[str, set[str]]) -> set[str]:
    """What is needed of these generations by those that extend them, at whatever remove."""
    if not by_id:
        return set()
    wanted = set[str]().union(*by_id.values())
    named: set[str] = set()
    family = sa.select(generations.c.id).where(generations.c.id.in_(by_id)).cte("family", recursive=True)
    children = sa.select(parents.c.child_id).join(family, family.c.id == parents.c.parent_id)
    family = family.union(children)
    results = sa.select(sa.cast(generations.c.result, sa.Text)).where(
        generations.c.id.in_(sa.select(family.c.id)), generations.c.state == "completed", _in_use()
    )
    for result in connection.execute(results.execution_options(yield_per=100)).scalars():
        named |= wanted & _named(result)
    return named


def _in_use() -> sa.ColumnElement[bool]:
    """A completed generation whose result somebody may still read: its account, or a child that runs."""
    child = generations.alias("child")
    waits = sa.exists().where(
        parents.c.parent_id == generations.c.id, child.c.id == parents.c.child_id, child.c.state.in_(UNENDED)
    )
    return sa.or_(generations.c.deleted_at.is_(None), waits)


def _old_event(before: float) -> sa.ColumnElement[bool]:
    later = events.alias("later")
    ended = sa.exists().where(generations.c.id == events.c.generation_id, generations.c.ended_at < before)
    follows = sa.exists().where(later.c.generation_id == events.c.generation_id, later.c.id > events.c.id)
    return sa.and_(ended, follows)


def _forgettable(before: float) -> sa.ColumnElement[bool]:
    """Deleted long ago, no other's parent, and not what a key has paid for that may use so much in all."""
    pays = sa.exists().where(keys.c.id == generations.c.key_id, keys.c.credits.is_not(None))
    return sa.and_(
        generations.c.deleted_at < before,
        generations.c.state.not_in(UNENDED),  # which no index finds: the one of deletions is to be taken
        ~sa.exists().where(parents.c.parent_id == generations.c.id),
        sa.or_(generations.c.state == "failed", ~pays),
    )


def _named(*texts: str | None) -> set[str]:
    """All keys that stand in these pieces of JSON, wherever."""
    return {key for text in texts if text for key in _NAMED.findall(text)}


def _taken() -> ConflictError:
    return ConflictError("another longtake gc runs: wait for it to end")


__all__ = ["KINDS", "Needs", "ids_in"]

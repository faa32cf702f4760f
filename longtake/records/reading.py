"""Generations as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from longtake.errors import ConflictError, UnknownError
from longtake.orders import Order
from longtake.records.database import patiently
from longtake.records.generation import ENDED, Generation, Result, State
from longtake.records.tables import generations, parents
from longtake.records.uploads import extent_from

PLAIN = tuple(name for name in Generation.__dataclass_fields__ if name not in {"order", "extent", "result", "parents"})
"""The columns that hold a field as it is."""
ENDS = ("frame0", "frame1")


def _parent_at(end: str) -> sa.Label[str]:
    mine = parents.c.child_id == generations.c.id, parents.c.end == end
    return sa.select(parents.c.parent_id).where(*mine).scalar_subquery().label(end)


WHOLE: tuple[Any, ...] = (generations, *map(_parent_at, ENDS))
"""What a `Generation` is made of, its parents too: one statement, and so one round trip."""


class GenerationReader:
    """Answers for generations; changes nothing. Who inherits from it opens the database."""

    _reader: sa.Engine
    patience_seconds: float

    @patiently
    def get(self, id: str, account: str | None = None) -> Generation:
        """Raises UnknownError for no such id, or another account's. Without `account`: for the program itself."""
        with self._reader.begin() as connection:
            return self._one(connection, id, account)

    def get_parent(self, id: str, account: str, end: str) -> Generation:
        """The generation that is to be extended. Raises UnknownError, ConflictError for a failed or deleted one."""
        with self._reader.begin() as connection:
            return _generation(self._parent(connection, id, account, end, *WHOLE))

    def get_many(self, ids: Sequence[str], account: str) -> list[Generation]:
        """In the order of `ids`. Raises UnknownError that names the first id that is not there."""
        found = {g.id: g for g in self._read(generations.c.id.in_(ids), generations.c.account == account)}
        missing = next((id for id in ids if id not in found), None)
        if missing is not None:
            raise UnknownError(f"there is no generation {missing[:80]}")
        return [found[id] for id in ids]

    def page(self, account: str, *, limit: int = 100, offset: int = 0) -> list[Generation]:
        """Newest first."""
        return self._read(generations.c.account == account, limit=limit, offset=offset)

    def page_after(
        self, account: str, *, after: str | None = None, limit: int = 100, ascending: bool = False
    ) -> tuple[list[Generation], bool]:
        """Those that come after the generation `after`, newest first or oldest first, and whether more follow.

        What is made or deleted meanwhile shifts no page; `after` itself may be deleted. Raises UnknownError for it.
        """
        place = generations.c.created_at, generations.c.id
        where = [generations.c.account == account, generations.c.deleted_at.is_(None)]
        with self._reader.begin() as connection:
            if after is not None:
                mine = sa.select(*place).where(generations.c.id == after, generations.c.account == account)
                cursor = connection.execute(mine).one_or_none()
                if cursor is None:
                    raise UnknownError(f"there is no generation {after[:80]}", field="after")
                here, there = sa.tuple_(*place), sa.tuple_(*map(sa.literal, cursor))
                where.append(here > there if ascending else here < there)
            order = [column.asc() if ascending else column.desc() for column in place]
            query = sa.select(*WHOLE).where(*where).order_by(*order).limit(limit + 1)
            found = [_generation(row) for row in connection.execute(query)]
        return found[:limit], len(found) > limit

    def count(self, account: str) -> int:
        query = sa.select(sa.func.count()).where(generations.c.account == account, generations.c.deleted_at.is_(None))
        with self._reader.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def count_by_state(self) -> dict[str, int]:
        query = sa.select(generations.c.state, sa.func.count()).group_by(generations.c.state)
        with self._reader.begin() as connection:
            return {row.state: row[1] for row in connection.execute(query)}

    @patiently
    def is_deleted(self, id: str) -> bool:
        query = sa.select(generations.c.deleted_at.is_not(None)).where(generations.c.id == id)
        with self._reader.begin() as connection:
            return bool(connection.execute(query).scalar_one_or_none())

    def children(self, id: str) -> list[str]:
        """The ids of the generations that extend this one, oldest first."""
        extends = sa.exists().where(parents.c.child_id == generations.c.id, parents.c.parent_id == id)
        query = sa.select(generations.c.id).where(extends, generations.c.deleted_at.is_(None))
        query = query.order_by(generations.c.created_at, generations.c.id)
        with self._reader.begin() as connection:
            return [child for (child,) in connection.execute(query)]

    @patiently
    def was_extended(self, id: str) -> bool:
        """Whether timelines may hold its segment: any generation ever extended it, even if a deleted child's own
        children alone are left. An edit of it that has ended holds frames of its own."""
        child = parents.join(generations, generations.c.id == parents.c.child_id)
        query = sa.select(generations.c.state, generations.c.order).select_from(child).where(parents.c.parent_id == id)
        # Not the database looks into the order: Postgres would refuse one that holds \u0000 anywhere.
        with self._reader.begin() as connection:
            return any(state not in ENDED or order.get("edit") is None for state, order in connection.execute(query))

    def _parent_state(self, connection: sa.Connection, id: str, account: str, end: str) -> State:
        columns = generations.c.state, generations.c.deleted_at, generations.c.failure_reason
        state: State = self._parent(connection, id, account, end, *columns).state
        return state

    def _parent(self, connection: sa.Connection, id: str, account: str, end: str, *columns: Any) -> sa.Row[Any]:
        field = f"keyframes.{end}.id"
        query = sa.select(*columns).where(generations.c.id == id, generations.c.account == account)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownError(f"there is no generation {id[:80]}", field=field)
        if row.deleted_at is not None:
            raise ConflictError(f"generation {id} was deleted", field=field)
        if row.state == "failed":
            raise ConflictError(f"generation {id} failed ({row.failure_reason}): it can't be used", field=field)
        return row

    def _one(self, connection: sa.Connection, id: str, account: str | None = None) -> Generation:
        query = sa.select(*WHOLE).where(generations.c.id == id)
        if account is not None:
            query = query.where(generations.c.account == account, generations.c.deleted_at.is_(None))
        row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownError(f"there is no generation {id[:80]}")
        return _generation(row)

    def _read(self, *where: sa.ColumnElement[bool], limit: int | None = None, offset: int = 0) -> list[Generation]:
        query = (
            sa.select(*WHOLE)
            .where(*where, generations.c.deleted_at.is_(None))
            .order_by(generations.c.created_at.desc(), generations.c.id)
            .limit(limit)
            .offset(offset)
        )
        with self._reader.begin() as connection:
            return [_generation(row) for row in connection.execute(query)]


def _generation(row: sa.Row[Any]) -> Generation:
    """Of the columns `WHOLE`."""
    return Generation(
        **{name: row._mapping[name] for name in PLAIN},
        order=Order.from_json(row._mapping["order"]),
        extent=extent_from(row.extent),
        result=Result.from_json(row.result) if row.result else None,
        parents=tuple((end, parent) for end in ENDS if (parent := row._mapping[end]) is not None),
    )

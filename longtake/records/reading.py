"""Generations as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from longtake.errors import ConflictError, UnknownError
from longtake.orders import Order
from longtake.records.generation import ENDED, Generation, Result, State
from longtake.records.tables import generations, parents
from longtake.records.uploads import extent_from

PLAIN = tuple(name for name in Generation.__dataclass_fields__ if name not in {"order", "extent", "result", "parents"})
"""The columns that hold a field as it is."""


class GenerationReader:
    """Answers for generations; changes nothing. Who inherits from it opens the database."""

    _reader: sa.Engine

    def get(self, id: str, account: str | None = None) -> Generation:
        """Raises UnknownError for no such id, or another account's. Without `account`: for the program itself."""
        with self._reader.begin() as connection:
            return self._one(connection, id, account)

    def get_parent(self, id: str, account: str, end: str) -> Generation:
        """The generation that is to be extended. Raises UnknownError, ConflictError for a failed or deleted one."""
        with self._reader.begin() as connection:
            self._parent_state(connection, id, account, end)
            return self._one(connection, id)

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
            query = sa.select(generations).where(*where).order_by(*order).limit(limit + 1)
            found = self._build(connection, connection.execute(query).all())
        return found[:limit], len(found) > limit

    def count(self, account: str) -> int:
        query = sa.select(sa.func.count()).where(generations.c.account == account, generations.c.deleted_at.is_(None))
        with self._reader.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def count_by_state(self) -> dict[str, int]:
        query = sa.select(generations.c.state, sa.func.count()).group_by(generations.c.state)
        with self._reader.begin() as connection:
            return {row.state: row[1] for row in connection.execute(query)}

    def is_deleted(self, id: str) -> bool:
        query = sa.select(generations.c.deleted_at.is_not(None)).where(generations.c.id == id)
        with self._reader.begin() as connection:
            return bool(connection.execute(query).scalar_one_or_none())

    def children(self, id: str) -> list[str]:
        """The ids of the generations that extend this one, oldest first."""
        query = (
            sa.select(parents.c.child_id)
            .join(generations, generations.c.id == parents.c.child_id)
            .where(parents.c.parent_id == id, generations.c.deleted_at.is_(None))
            .order_by(generations.c.created_at)
            .distinct()
        )
        with self._reader.begin() as connection:
            return [child for (child,) in connection.execute(query)]

    def was_extended(self, id: str) -> bool:
        """Whether timelines may hold its segment: any generation ever extended it, even if a deleted child's own
        children alone are left. An edit of it that has ended holds frames of its own."""
        is_done_edit = generations.c.order["edit"].as_string().is_not(None) & generations.c.state.in_(ENDED)
        child = parents.join(generations, generations.c.id == parents.c.child_id)
        query = sa.select(parents.c.child_id).select_from(child).where(parents.c.parent_id == id, ~is_done_edit)
        with self._reader.begin() as connection:
            return bool(connection.execute(sa.select(query.exists())).scalar_one())

    def unfinished(self) -> list[tuple[str, int]]:
        """`(id, attempt)` of all that have not ended and wait for no parent: each should have a live workflow."""
        running = generations.alias("running")
        waits = sa.exists().where(
            parents.c.child_id == generations.c.id, running.c.id == parents.c.parent_id, running.c.state.not_in(ENDED)
        )
        query = sa.select(generations.c.id, generations.c.attempt).where(generations.c.state.not_in(ENDED), ~waits)
        with self._reader.begin() as connection:
            return [(id, attempt) for id, attempt in connection.execute(query)]

    def _parent_state(self, connection: sa.Connection, id: str, account: str, end: str) -> State:
        field = f"keyframes.{end}.id"
        row = connection.execute(
            sa.select(generations.c.state, generations.c.deleted_at, generations.c.failure_reason)
            .where(generations.c.id == id, generations.c.account == account)
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise UnknownError(f"there is no generation {id[:80]}", field=field)
        if row.deleted_at is not None:
            raise ConflictError(f"generation {id} was deleted", field=field)
        if row.state == "failed":
            raise ConflictError(f"generation {id} failed ({row.failure_reason}): it can't be used", field=field)
        state: State = row.state
        return state

    def _one(self, connection: sa.Connection, id: str, account: str | None = None) -> Generation:
        query = sa.select(generations).where(generations.c.id == id)
        if account is not None:
            query = query.where(generations.c.account == account, generations.c.deleted_at.is_(None))
        row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownError(f"there is no generation {id[:80]}")
        return self._build(connection, [row])[0]

    def _read(self, *where: sa.ColumnElement[bool], limit: int | None = None, offset: int = 0) -> list[Generation]:
        query = (
            sa.select(generations)
            .where(*where, generations.c.deleted_at.is_(None))
            .order_by(generations.c.created_at.desc(), generations.c.id)
            .limit(limit)
            .offset(offset)
        )
        with self._reader.begin() as connection:
            return self._build(connection, connection.execute(query).all())

    def _build(self, connection: sa.Connection, rows: Iterable[sa.Row[Any]]) -> list[Generation]:
        rows = list(rows)
        of: dict[str, list[tuple[str, str]]] = {row.id: [] for row in rows}
        query = sa.select(parents).where(parents.c.child_id.in_(of)).order_by(parents.c.end)
        for child, end, parent in connection.execute(query):
            of[child].append((end, parent))
        return [
            Generation(
                **{name: row._mapping[name] for name in PLAIN},
                order=Order.from_json(row._mapping["order"]),
                extent=extent_from(row.extent),
                result=Result.from_json(row.result) if row.result else None,
                parents=tuple(of[row.id]),
            )
            for row in rows
        ]

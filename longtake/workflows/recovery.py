"""Gives work back to the queue: that of workers that have died, and a worker's own when it ends before the work does.

All of it is one guarded UPDATE of DBOS's table: only a row that still runs, and for the one that is named, is changed;
it loses its owner by that, so that whoever ran it writes no result any more.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa
from dbos import DBOS

from longtake.dialects import read_only
from longtake.workflows import names
from longtake.workflows.liveness import Locks
from longtake.workflows.slots import Token

HANDED_BACK = "longtake_handed_back"
"""In a workflow's attributes: how often it was given back by a living worker. Its starts less these are its deaths."""
_COLUMNS: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "workflow_uuid": sa.String,
    "status": sa.String,
    "name": sa.String,
    "executor_id": sa.String,
    "owner_xid": sa.String,
    "application_version": sa.String,
    "recovery_attempts": sa.BigInteger,
    "started_at_epoch_ms": sa.BigInteger,
    "updated_at": sa.BigInteger,
    "attributes": sa.JSON,
}


class Running(NamedTuple):
    """A workflow that runs, by the database."""

    workflow_id: str
    executor: str
    owner: str

    @property
    def token(self) -> Token:
        return Token(self.workflow_id, self.owner)


def recover(database: sa.Engine, dead: Collection[str]) -> None:
    """Lets others take up what these executors, which are dead, had begun. Safe to be called by many at once."""
    private = getattr(DBOS, "_recover_pending_workflows", None)
    if private is None:  # a later DBOS
        with database.begin() as connection:
            _give_back(connection, executors=dead)
    else:
        private(list(dead))


def hand_back(database: sa.Engine, executor: str, tokens: Collection[Token] | None = None) -> int:
    """A living executor's own work, all of it or these runs of it: how much it was. It counts as no death."""
    with database.begin() as connection:
        return _give_back(connection, executors=[executor], tokens=tokens, is_alive=True)


def running(database: sa.Engine) -> list[Running]:
    """What runs, in this version, and for whom."""
    table = _table(database.dialect)
    query = sa.select(table.c.workflow_uuid, table.c.executor_id, table.c.owner_xid).where(
        table.c.status == "PENDING", table.c.application_version == names.VERSION
    )
    with read_only(database).connect() as connection:
        return [Running(*row) for row in connection.execute(query)]


def is_queued(database: sa.Engine, workflow_id: str) -> bool:
    """Whether it waits for a worker."""
    table = _table(database.dialect)
    query = sa.select(table.c.status).where(table.c.workflow_uuid == workflow_id)
    with read_only(database).connect() as connection:
        return connection.execute(query).scalar_one_or_none() == "ENQUEUED"


def in_living_hands(
    database: sa.Engine, locks: Locks, workers: Collection[str]
) -> tuple[set[str], dict[str, tuple[int, str]]]:
    """Those of these workers that live; and generation id → the attempt at it that a living one runs, and who it is."""
    runs = running(database)
    alive = locks.held({*workers, *(run.executor for run in runs)})
    held = {}
    for run in runs:
        id, _, attempt = run.workflow_id.rpartition(".")
        if run.executor in alive and not id.startswith("webhook."):
            held[id] = int(attempt), run.executor
    return alive.intersection(workers), held


def starts(database: sa.Engine, workflow_id: str, owner: str) -> tuple[int, int] | None:
    """Which start of the workflow is this owner's, counted from 1, and how many of those before it were handed back.

    None where it is not the owner any more. No two owners have the same start.
    """
    table = _table(database.dialect)
    query = sa.select(table.c.recovery_attempts, table.c.attributes).where(
        table.c.workflow_uuid == workflow_id, table.c.owner_xid == owner
    )
    with read_only(database).connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return int(row.recovery_attempts), int((row.attributes or {}).get(HANDED_BACK, 0))


def _give_back(
    connection: sa.Connection,
    *,
    executors: Iterable[str],
    tokens: Iterable[Token] | None = None,
    is_alive: bool = False,
) -> int:
    table = _table(connection.dialect)
    where = [
        table.c.status == "PENDING",
        table.c.executor_id.in_(list(executors)),
        table.c.application_version == names.VERSION,
    ]
    if tokens is not None:  # what was taken in one dequeue has one owner: by it alone they are not told apart
        where.append(sa.tuple_(table.c.workflow_uuid, table.c.owner_xid).in_([tuple(one) for one in tokens]))
    values: dict[str, Any] = {
        "status": "ENQUEUED",
        "owner_xid": None,
        "started_at_epoch_ms": None,
        "updated_at": int(time.time() * 1000),
    }
    if is_alive:
        values["attributes"] = _one_more(connection.dialect, table.c.attributes)
    return connection.execute(sa.update(table).where(*where).values(values)).rowcount


def _one_more(dialect: sa.Dialect, attributes: sa.ColumnElement[Any]) -> sa.TextClause:
    """The attributes, with one more time that the workflow was handed back."""
    name = HANDED_BACK
    if dialect.name == "sqlite":
        return sa.text(
            f"json_set(CASE json_type({attributes.name}) WHEN 'object' THEN {attributes.name} ELSE '{{}}' END,"
            f" '$.{name}', coalesce(json_extract({attributes.name}, '$.{name}'), 0) + 1)"
        )
    return sa.text(
        f"CASE jsonb_typeof({attributes.name}) WHEN 'object' THEN {attributes.name} ELSE jsonb_build_object() END"
        f" || jsonb_build_object('{name}',"
        f" coalesce(CAST({attributes.name} ->> '{name}' AS int), 0) + 1)"
    )


def _table(dialect: sa.Dialect) -> sa.TableClause:
    schema = None if dialect.name == "sqlite" else "dbos"
    columns: list[sa.ColumnClause[Any]] = [sa.column(name, kind) for name, kind in _COLUMNS.items()]
    return sa.table("workflow_status", *columns, schema=schema)

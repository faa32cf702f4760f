"""Events, as they are written: in the transaction that makes them true."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from longtake.records.database import lock_key
from longtake.records.tables import events, generations

CHANNEL = "longtake"
"""Where Postgres tells of new events but those of progress (NOTIFY)."""
PROGRESS = "generation.progress"


def tell(
    connection: sa.Connection,
    id: str,
    account: str,
    kind: str,
    state: str,
    stage: str,
    progress: float,
    figures: dict[str, Any] | None = None,
) -> None:
    """Of a generation, with its account locked: so an account's events are numbered in the order of their commits."""
    data = {**_data(id, state, stage, progress), **(figures or {})}
    insert = sa.insert(events).values(generation_id=id, account=account, type=kind, data=data, created_at=time.time())
    if connection.dialect.name == "postgresql":
        insert = insert.returning(sa.func.pg_notify(CHANNEL, ""))
    connection.execute(insert)


def tell_progress(connection: sa.Connection, id: str, attempt: int, stage: str, progress: float) -> bool:
    """How far this attempt is: the record and the event. False where it is over."""
    mine = generations.c.id == id, generations.c.state == "dreaming", generations.c.attempt == attempt
    now = time.time()
    update = sa.update(generations).values(stage=stage, progress=progress, updated_at=now)
    update = update.returning(generations.c.account)
    event = {"generation_id": id, "type": PROGRESS, "data": _data(id, "dreaming", stage, progress), "created_at": now}
    if connection.dialect.name != "postgresql":
        row = connection.execute(update.where(*mine)).one_or_none()
        if row is not None:
            connection.execute(sa.insert(events).values(**event, account=row.account))
        return row is not None
    # One statement, one round trip. Any number of reports share the account's lock, and no other event of the account
    # is numbered meanwhile: who resumes after this one misses none.
    lock = sa.func.pg_advisory_xact_lock_shared(lock_key(generations.c.account)).label("lock")
    locked = sa.select(generations.c.account, lock).where(generations.c.id == id).cte("locked")
    moved = update.where(*mine, generations.c.account == locked.c.account).cte("moved")
    columns = [sa.literal(value, events.c[name].type) for name, value in event.items()]
    source = sa.select(*columns, moved.c.account)
    insert = sa.insert(events).from_select([*event, "account"], source)
    return connection.execute(insert.returning(events.c.id)).one_or_none() is not None


def _data(id: str, state: str, stage: str, progress: float) -> dict[str, Any]:
    return {"id": id, "state": state, "stage": stage, "progress": round(progress, 4)}

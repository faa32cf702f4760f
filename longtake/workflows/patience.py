"""What to do while the database is away: nothing is lost, and nobody fails for it."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from dbos import _sys_db

from longtake.errors import DatabaseError

SHUTTING_DOWN = ("08", "25006", "53", "57P")
"""How an SQLSTATE begins: connection, a server that takes no writes (any more), resources, one that ends or begins."""

MOST_PAUSE_SECONDS = 3.0
"""Between two tries of DBOS to reach the database."""


def is_away(error: BaseException) -> bool:
    """Whether the database could not be reached, rather than did not like what it was asked."""
    if isinstance(error, DatabaseError | sa.exc.TimeoutError):  # the latter: all connections of a pool are taken
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", "none of Postgres'")
    if state is None:  # no server has answered
        return isinstance(error, sa.exc.OperationalError)
    return str(state).startswith(SHUTTING_DOWN)


class _Clock:
    """`time`, but that nobody sleeps for long."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, MOST_PAUSE_SECONDS))


def be_patient() -> None:
    """DBOS waits for a database that refuses connections, too, with all that it wants to write; not longer than that.

    It knows libpq's words of older psycopgs only: of those of 3.3 it takes "connection is bad" for a fault of ours. And
    it pauses for up to 90 s between two tries: work would wait for so long after the database is back.
    """
    functions = vars(_sys_db)
    known = functions["retriable_postgres_exception"]
    if getattr(known, "knows_all", False):
        return

    def retriable(error: Exception) -> bool:
        return bool(known(error)) or (isinstance(error, sa.exc.DBAPIError) and is_away(error))

    retriable.knows_all = True  # type: ignore[attr-defined]
    functions["retriable_postgres_exception"] = retriable
    functions["time"] = _Clock()

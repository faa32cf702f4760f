"""What to do while the database is away: nothing is lost, and nobody fails for it."""

from __future__ import annotations

import sqlalchemy as sa
from dbos import _sys_db

from longtake.errors import DatabaseError

SHUTTING_DOWN = ("08", "25006", "53", "57P")
"""How an SQLSTATE begins: connection, a server that takes no writes (any more), resources, one that ends or begins."""


def is_away(error: BaseException) -> bool:
    """Whether the database could not be reached, rather than did not like what it was asked."""
    if isinstance(error, DatabaseError):
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", "none of Postgres'")
    if state is None:  # no server has answered
        return isinstance(error, sa.exc.OperationalError)
    return str(state).startswith(SHUTTING_DOWN)


def be_patient() -> None:
    """DBOS waits for a database that refuses connections, too, with all that it wants to write.

    It knows libpq's words of older psycopgs only: of those of 3.3 it takes "connection is bad" for a fault of ours.
    """
    functions = vars(_sys_db)
    known = functions["retriable_postgres_exception"]
    if getattr(known, "knows_all", False):
        return

    def retriable(error: Exception) -> bool:
        return bool(known(error)) or (isinstance(error, sa.exc.DBAPIError) and is_away(error))

    retriable.knows_all = True  # type: ignore[attr-defined]
    functions["retriable_postgres_exception"] = retriable

"""Opening the database, and bringing its tables up to date."""

from __future__ import annotations

import functools
import select
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from longtake.dialects import Keepalives, address_of, is_postgres, session_options
from longtake.errors import DatabaseError

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS = 8
"""To Postgres, that a process keeps open."""
MOST_CONNECTIONS = 40
"""More than the threads of a front or a worker that speak to the database at once: none waits for another's."""
POOL_SECONDS = 30.0
"""How long to wait for one of them, where all are taken."""
RETRY_SECONDS = 1.0
"""When to try again where the database is away."""
KEEPALIVES = Keepalives(10, 5, 3, 20_000)
SESSION = {
    # A process that is frozen inside a transaction loses it before those who wait for its locks give up.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "20s",
    "statement_timeout": "30s",
    # The same for one whose machine is gone: the server notices by itself.
    **KEEPALIVES.of_server(),
}
"""What a session on Postgres is opened with."""
CONNECT = {
    "application_name": "longtake",
    "connect_timeout": 10,
    "keepalives": 1,
    **KEEPALIVES.of_client(),
    "target_session_attrs": "read-write",  # of several hosts the one that is no standby
}
"""How a client connects (libpq's words), where its URL says nothing else."""
AWAY_CODES = {5, 6, 8, 10, 13, 14}
"""SQLite's primary result codes that another try may not meet: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN."""
UNDEFINED = {"42P01", "42703"}
"""The SQLSTATEs of a table and a column that there are not."""
READ_ONLY = "25006"
"""The SQLSTATE of a server that takes no writes: after a failover, the one that was the primary."""
MIGRATIONS = "(migrations)"
"""No account's name: what stands for one among the locks while tables are changed."""


class Pool(sa.QueuePool):
    """Where all its connections are taken for too long, the database is too busy. No `handle_error` hears of it."""

    def connect(self) -> sa.PoolProxiedConnection:
        """Raises DatabaseError."""
        try:
            return super().connect()
        except sa.exc.TimeoutError as error:
            raise _too_busy() from error


def open_database(url: str) -> sa.Engine:
    """An engine for `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE` (psycopg 3).

    Where the database is away, or does not answer in time, calls raise DatabaseError, and the next one connects anew.
    Errors name no values: prompts and hashes of keys stay out of the log. Raises CallerError for what is no address.
    """
    if is_postgres(url):
        return _open_postgres(url)
    engine = sa.create_engine(address_of(url), hide_parameters=True, poolclass=Pool, pool_timeout=POOL_SECONDS)
    # A deferred transaction that reads first and writes later fails with "database is locked" as soon as two
    # processes do so at once, whatever the timeout; so all take the lock first, but for those that only read.
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    sa.event.listen(engine, "handle_error", _away)
    return engine


def lock_account(connection: sa.Connection, account: str) -> None:
    """Until this transaction ends, no other one changes what belongs to the account: SQLite's one write lock."""
    _lock(connection, sa.literal(account, sa.String))


def lock_account_of(connection: sa.Connection, owner: sa.Column[str], *where: sa.ColumnElement[bool]) -> None:
    """The same for the account in the column `owner` of the row that `where` names; an account never changes."""
    _lock(connection, owner, *where)


def _lock(connection: sa.Connection, account: sa.ColumnElement[str], *where: sa.ColumnElement[bool]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key(account))).where(*where))


def lock_key(account: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """64 bits that stand for an account among Postgres' advisory locks."""
    return sa.func.hashtextextended(sa.literal("longtake:", sa.String).concat(account), 0)


def insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say ON CONFLICT: both databases know it, each in a class of SQLAlchemy's own."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


class Patient(Protocol):
    patience_seconds: float


S = TypeVar("S", bound=Patient)


def patiently(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method that is called again where the database was away, for `patience_seconds` of its object.

    Only for what may be done twice: whether a commit whose answer was lost took place, nobody knows.
    """

    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                return method(self, *args, **kwargs)
            except DatabaseError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(min(RETRY_SECONDS, max(0.0, deadline - time.monotonic())))

    functools.update_wrapper(call, method)
    return call


def lacks_tables(error: Exception) -> bool:
    """Whether the database was reached, and has not the table or the column that was asked for."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause).startswith(("no such table", "no such column"))
    return getattr(cause, "sqlstate", None) in UNDEFINED


def migrate(engine: sa.Engine) -> None:
    """Brings our tables up to date. Safe to call from several processes at once."""
    # alembic costs a quarter of a second to import: only what opens a database for the first time pays it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "longtake.records:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = '120s'")
            lock_account(connection, MIGRATIONS)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _open_postgres(url: str) -> sa.Engine:
    """READ COMMITTED: what checks several rows before it writes takes `lock_account` first."""
    address = address_of(url)
    options = session_options(address, SESSION)
    connect = {name: value for name, value in CONNECT.items() if name not in address.query}
    engine = sa.create_engine(
        address,
        connect_args={**connect, "options": options},
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        poolclass=Pool,
        pool_timeout=POOL_SECONDS,
        pool_size=CONNECTIONS,
        max_overflow=MOST_CONNECTIONS - CONNECTIONS,
        pool_use_lifo=True,
    )
    sa.event.listen(engine, "checkout", _check_postgres)
    sa.event.listen(engine, "handle_error", _away)
    return engine


def _check_postgres(connection: Any, _record: Any, _proxy: Any) -> None:
    """Raises InvalidatePoolError for a connection that the server has ended.

    An idle one has nothing to read, unless its end: seen without the round trip of a ping.
    """
    if not connection.closed:
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(connection.fileno(), select.POLLIN)
    if connection.closed or poll.poll(0):
        raise sa.exc.InvalidatePoolError("the server has ended this connection")


def _away(context: sa.engine.ExceptionContext) -> DatabaseError | None:
    """What is no fault of ours becomes a DatabaseError, which every wire answers with 503 and `Retry-After`."""
    error = context.original_exception
    if getattr(error, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True  # all connections of the pool lead there: the next one is made anew
    if isinstance(error, sqlite3.OperationalError):
        is_away = getattr(error, "sqlite_errorcode", 0) & 0xFF in AWAY_CODES
    else:
        is_away = isinstance(context.sqlalchemy_exception, sa.exc.OperationalError | sa.exc.InterfaceError)
    if not is_away and not context.is_disconnect:
        return None
    return _too_busy()


def _too_busy() -> DatabaseError:
    return DatabaseError("the database is away or too busy", retryable=True, retry_after_seconds=RETRY_SECONDS)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event says BEGIN, not the driver
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what was answered with 201 outlives a power cut too
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

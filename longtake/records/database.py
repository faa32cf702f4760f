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

from longtake.errors import CallerError, DatabaseError

P = ParamSpec("P")
T = TypeVar("T")

POSTGRES = ("postgresql://", "postgres://", "postgresql+psycopg://")
CONNECTIONS = 8
"""To Postgres, that a process keeps open."""
MOST_CONNECTIONS = 40
"""More than the threads of a front or a worker that speak to the database at once: none waits for another's."""
RETRY_SECONDS = 1.0
"""When to try again where the database is away."""
SESSION = {
    # A process that is frozen inside a transaction loses it before those who wait for its locks give up.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "20s",
    "statement_timeout": "30s",
    # The same for one whose machine is gone: the server notices by itself.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""What a session on Postgres is opened with."""
CONNECT = {
    "application_name": "longtake",
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
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


def open_database(url: str) -> sa.Engine:
    """An engine for `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE` (psycopg 3).

    Where the database is away, or does not answer in time, calls raise DatabaseError, and the next one connects anew.
    Errors name no values: prompts and hashes of keys stay out of the log. Raises CallerError for what is no address.
    """
    if is_postgres(url):
        return _open_postgres(url)
    engine = sa.create_engine(url, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        # A deferred transaction that reads first and writes later fails with "database is locked" as soon as two
        # processes do so at once, whatever the timeout; so all take the lock first, but for those that only read.
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        sa.event.listen(engine, "handle_error", _away)
    return engine


def is_postgres(url: str) -> bool:
    return url.startswith(POSTGRES)


def read_only(engine: sa.Engine) -> sa.Engine:
    """The same engine for transactions that only read.

    On SQLite they never wait for a writer. On Postgres each statement is its own transaction, and one round trip.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(read_only=True)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


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


def postgres_address(url: str) -> sa.URL:
    """The address in its parts, with psycopg's name as the driver. Raises CallerError, which tells no password."""
    from psycopg import pq  # loads libpq, which SQLite needs not

    field = "LONGTAKE_DATABASE_URL"
    example = "one looks like postgresql://USER:PASSWORD@HOST:5432/DATABASE"
    try:
        address = sa.make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")
    except (ValueError, sa.exc.ArgumentError):  # whose texts may hold a password
        raise CallerError(
            f"{field}: postgresql://… is no address of a database, its port is no number; {example}", field=field
        ) from None
    if "@" in (address.host or ""):
        raise CallerError(f"{field}: an @ in the password is to be written %40; {example}", field=field)
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for name in address.query:
        if name not in known:
            raise CallerError(f"{field}: Postgres knows no option {name!r}; {example}", field=field)
    return address


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
    address = postgres_address(url)
    given = address.query.get("options", "")
    ours = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    options = f"{ours} {given if isinstance(given, str) else ' '.join(given)}".rstrip()
    connect = {name: value for name, value in CONNECT.items() if name not in address.query}
    engine = sa.create_engine(
        address,
        connect_args={**connect, "options": options},
        hide_parameters=True,
        isolation_level="READ COMMITTED",
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

"""Opening the database, and bringing its tables up to date."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa


def open_database(url: str) -> sa.Engine:
    """An engine for `url`. On SQLite: WAL, each commit flushed, and transactions that take the write lock first.

    A deferred transaction that reads first and writes later fails with "database is locked" as soon as two
    processes do so at once, whatever the timeout; so all take the lock first, but for those that say
    `execution_options(read_only=True)`. Errors name no values: prompts and hashes of keys stay out of the log.
    """
    engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"), hide_parameters=True)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def read_only(engine: sa.Engine) -> sa.Engine:
    """The same engine for transactions that only read: on SQLite they never wait for a writer."""
    return engine.execution_options(read_only=True)


def migrate(engine: sa.Engine) -> None:
    """Brings our tables up to date. Safe to call from several processes at once."""
    # alembic costs a quarter of a second to import: only what opens a database for the first time pays it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "longtake.records:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event says BEGIN, not the driver
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what was answered with 201 outlives a power cut too
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

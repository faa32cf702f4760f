"""What workflows and their queues are called in DBOS's tables."""

from __future__ import annotations

import re

import sqlalchemy as sa

from longtake.errors import CallerError, FaultError

NAME = "longtake"
WORKFLOW = "generation"
WEBHOOK_WORKFLOW = "webhook"
WEBHOOK_QUEUE = "webhooks"
VERSION = "5"
"""Names the order of steps, and what planning makes of an order. Raised when either changes: what an older version has
begun is begun anew, by the sweep, for kept results of one plan do not fit another."""
SESSION = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3 -c tcp_user_timeout=14000"
"""So the server notices within 14 s that a machine has vanished, and drops the locks that were held from there. It does
not probe as long as something that it sent is not acknowledged: then the last of these counts."""
LEAST_PRIORITY = 10


def is_older(version: str | None) -> bool:
    """Whether no worker of this version or a later one takes up what is of that one.

    What is newer than this program belongs to those that were brought up to date before it.
    """
    try:
        return int(version or 0) < int(VERSION)
    except ValueError:  # not of ours
        return version != VERSION


def queue_of(engine: str) -> str:
    """The queue of the orders for an engine: a worker listens to those of the engines that it has."""
    return f"render.{engine}"


def workflow_id(generation_id: str, attempt: int) -> str:
    if not re.fullmatch(r"[0-9a-f-]{36}", generation_id):
        raise FaultError(f"not a generation's id: {generation_id!r}")
    return f"{generation_id}.{attempt}"


def webhook_id(number: int, turn: int) -> str:
    return f"webhook.{number}.{turn}"


def database_address(url: str) -> str:
    """`postgres://…`, `postgresql://…`, `postgresql+psycopg://…`, `sqlite:///…` → as DBOS and libpq take it.

    For Postgres with what lets both sides notice that the other is gone. Raises CallerError.
    """
    try:
        address = sa.make_url(url.replace("postgres://", "postgresql://", 1))
    except (ValueError, sa.exc.ArgumentError):
        raise CallerError("the address of the database must be postgresql://… or sqlite:///…") from None
    kind = address.get_backend_name()
    if kind not in ("postgresql", "sqlite"):
        raise CallerError(f"the database must be postgresql://… or sqlite:///…, got {kind}://…")
    if not address.database:
        raise CallerError(f"the address of the database must name the database: {kind}://…/NAME")
    if kind == "sqlite":
        return url
    given = address.query.get("options", "")
    options = f"{SESSION} {given if isinstance(given, str) else ' '.join(given)}".rstrip()
    ours = {"connect_timeout": "10", "keepalives_idle": "5", "keepalives_interval": "3", "keepalives_count": "3"}
    query = {**ours, "tcp_user_timeout": "14000", **address.query, "options": options}
    text = address.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    place, _, asked = text.partition("?")
    return f"{place}?{asked.replace('+', '%20')}"  # libpq reads no plus as a space


def is_postgres(url: str) -> bool:
    return sa.make_url(url).get_backend_name() == "postgresql"

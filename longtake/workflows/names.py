"""What workflows and their queues are called in DBOS's tables."""

from __future__ import annotations

import re

from longtake.dialects import Keepalives, address_of, is_postgres, session_options
from longtake.errors import FaultError

NAME = "longtake"
WORKFLOW = "generation"
WEBHOOK_WORKFLOW = "webhook"
WEBHOOK_QUEUE = "webhooks"
VERSION = "6"
"""Names the order of steps, and what planning makes of an order. Raised when either changes: what an older version has
begun is begun anew, by the sweep, for kept results of one plan do not fit another."""
KEEPALIVES = Keepalives(5, 3, 3, 14_000)
SESSION = KEEPALIVES.of_server() | {"tcp_user_timeout": str(KEEPALIVES.unacknowledged_milliseconds)}
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
    address = address_of(url)
    if not is_postgres(url):
        return url
    ours = {"connect_timeout": "10"} | {name: str(value) for name, value in KEEPALIVES.of_client().items()}
    query = {**ours, **address.query, "options": session_options(address, SESSION)}
    text = address.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    place, _, asked = text.partition("?")
    return f"{place}?{asked.replace('+', '%20')}"  # libpq reads no plus as a space

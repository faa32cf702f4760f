"""Hands generations and webhooks to the workers, and asks after them. The front needs no more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSClient

from longtake.errors import DatabaseError
from longtake.workflows import names
from longtake.workflows.names import NAME, WEBHOOK_QUEUE, WEBHOOK_WORKFLOW, WORKFLOW

T = TypeVar("T")
MOST_WEBHOOKS = 16
"""Receivers that one worker waits for at a time."""
MOST_WEBHOOKS_OF_ACCOUNT = 8
"""Of those: so one account's receivers that hang do not hold up what others are told."""
NO_BOUND = 1_000_000
"""A bound on each partition makes a queue a partitioned one. How many a worker runs is its own affair: `slots`."""
LIVE = {"ENQUEUED", "DELAYED", "PENDING"}
LOOK_UP = 500
"""How many workflows are asked after in one query."""
REPEAT_SECONDS = 60.0


class Turn(Protocol):
    """One attempt at a generation, to be carried out."""

    @property
    def id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def priority(self) -> int:
        """0 to 9: of one account's orders the greater ones go first."""


def migrate_workflows(url: str) -> None:
    """Brings DBOS's own tables up to date; a no-op where they are."""
    quieten()
    DBOS.migrate(names.database_address(url))


class Workflows:
    """Hands generations to the workers, and asks after them."""

    def __init__(self, url: str) -> None:
        quieten()
        try:
            self._client = DBOSClient(system_database_url=names.database_address(url))
        except sa.exc.OperationalError as error:  # it looks for the database at once
            raise DatabaseError("the database is away or too busy") from error

    def enqueue(self, connection: sa.Connection, turn: Turn) -> None:
        """Inside the caller's transaction: both the record and its workflow come to be, or neither."""
        self._client.enqueue_in_transaction(
            connection,
            {
                "queue_name": names.queue_of(turn.engine),
                "workflow_name": WORKFLOW,
                "workflow_id": names.workflow_id(turn.id, turn.attempt),
                "app_version": names.VERSION,
                "queue_partition_key": turn.account,
                "priority": names.LEAST_PRIORITY - turn.priority,  # DBOS takes the smaller first
            },
            turn.id,
            turn.attempt,
        )

    def enqueue_webhook(
        self, connection: sa.Connection, number: int, turn: int, after_seconds: float, account: str
    ) -> None:
        """Inside the caller's transaction. Nothing waits in a worker meanwhile."""
        self._client.enqueue_in_transaction(
            connection,
            {
                "queue_name": WEBHOOK_QUEUE,
                "workflow_name": WEBHOOK_WORKFLOW,
                "workflow_id": names.webhook_id(number, turn),
                "app_version": names.VERSION,
                "delay_seconds": after_seconds,
                "queue_partition_key": account,
            },
            number,
            turn,
        )

    def lost_webhooks(self, waiting: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
        """Of these `(number, turn)`, the ones whose workflow never runs again, with the word for why: see `lost`."""
        asked = {names.webhook_id(*one): one for one in waiting}
        for name, why in self._dead(asked):
            yield *asked[name], why

    def lost(self, unfinished: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, str]]:
        """Of these `(generation id, attempt)`, the ones whose workflow never runs again, with the word for why.

        The word is DBOS's, or MISSING, or OUTDATED: of an earlier `VERSION`, which no worker takes up.
        """
        asked = {names.workflow_id(id, attempt): (id, attempt) for id, attempt in unfinished}
        for name, why in self._dead(asked):
            yield *asked[name], why

    def _dead(self, workflows: Iterable[str]) -> Iterator[tuple[str, str]]:
        for some in _batches(workflows, LOOK_UP):
            found = self._client.list_workflows(workflow_ids=some, load_input=False, load_output=False)
            known = {status.workflow_id: status for status in found}
            for name in some:
                status = known.get(name)
                if status is None:
                    yield name, "MISSING"
                elif status.status not in LIVE:
                    yield name, status.status
                elif names.is_older(status.app_version):
                    yield name, "OUTDATED"

    def withdraw(self, id: str, attempt: int) -> None:
        """Takes this attempt out of its queue, where it still waits there."""
        name = names.workflow_id(id, attempt)
        waiting = ["ENQUEUED", "DELAYED"]
        if self._client.list_workflows(workflow_ids=[name], status=waiting, load_input=False, load_output=False):
            self._client.cancel_workflow(name)

    def open_queues(self, engines: Iterable[str], poll_seconds: float = 0.1) -> None:
        """Before an executor is launched: one that finds no queue looks again only after a second.

        Every worker writes the same, whatever its own concurrency: `poll_seconds` stand in the queues, not in a worker.
        """
        for engine in engines:
            self._client.register_queue(
                names.queue_of(engine),
                partition_worker_concurrency=NO_BOUND,
                polling_interval_sec=poll_seconds,
                application_name=NAME,
            )
        self._client.register_queue(
            WEBHOOK_QUEUE,
            worker_concurrency=MOST_WEBHOOKS,
            partition_worker_concurrency=MOST_WEBHOOKS_OF_ACCOUNT,
            polling_interval_sec=poll_seconds,
            application_name=NAME,
        )

    def close(self) -> None:
        self._client.destroy()


class NotAgain(logging.Filter):
    """Lets one warning of DBOS about a database that is away through in a while, not ten a second from each queue."""

    ABOUT = ("Database connection", "Exception ", "Notif", "Error in")

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._told = -REPEAT_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.WARNING or not str(record.msg).startswith(self.ABOUT):
            return True
        with self._lock:
            now = time.monotonic()
            if now - self._told < REPEAT_SECONDS:
                return False
            self._told = now
            return True


def quieten() -> None:
    """DBOS's own log goes through ours: warnings only, and none of them in a flood."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.WARNING)
    if not logger.handlers:  # else it makes one that writes text
        logger.addHandler(logging.NullHandler())
    if not any(isinstance(one, NotAgain) for one in logger.filters):
        logger.addFilter(NotAgain())


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch

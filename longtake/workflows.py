"""The durable run of one generation, on DBOS: each step's result is kept, and no step runs again once it is done.

The front only enqueues (`Workflows`); a worker process executes (`Executor`). Both speak to DBOS here and nowhere else.
"""

from __future__ import annotations

import fcntl
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Protocol, TypeVar

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig

from longtake.errors import FaultError

T = TypeVar("T")
log = structlog.get_logger("longtake.workflows")
NAME = "longtake"
QUEUE = "render"
WORKFLOW = "generation"
WEBHOOK_QUEUE = "webhooks"
WEBHOOK_WORKFLOW = "webhook"
MOST_WEBHOOKS = 16
"""Receivers that one worker waits for at a time."""
MOST_WEBHOOKS_OF_ACCOUNT = 8
"""Of those: so one account's receivers that hang do not hold up what others are told."""
VERSION = "4"
"""Names the order of steps, and what planning makes of an order. Raised when either changes: what an older version has
begun is begun anew, by the sweep, for kept results of one plan do not fit another."""
MOST_DEATHS = 5
"""So many workers may die in one and the same step of a generation before it is given up."""
POLL_SECONDS = 0.1
LIVE = {"ENQUEUED", "DELAYED", "PENDING"}
LOOK_UP = 500
"""How many workflows are asked after in one query."""


class Step(Protocol):
    """Runs `function` once in the life of a workflow; after a restart its kept result is returned instead."""

    def __call__(self, name: str, function: Callable[[], T]) -> T: ...


Run = Callable[[str, int, Step], None]
"""Carries out this attempt at the generation with this id."""
Deliver = Callable[[int, int], None]
"""Tries once to tell a client's address of something: the webhook's number and turn."""


def migrate_workflows(url: str) -> None:
    """Brings DBOS's own tables up to date; a no-op where they are."""
    DBOS.migrate(url)


class Workflows:
    """Hands generations to the workers, and asks after them."""

    def __init__(self, url: str) -> None:
        _quiet()
        self._client = DBOSClient(system_database_url=url)

    def enqueue(self, connection: sa.Connection, generation_id: str, attempt: int) -> None:
        """Inside the caller's transaction: both the record and its workflow come to be, or neither."""
        self._client.enqueue_in_transaction(
            connection,
            {
                "queue_name": QUEUE,
                "workflow_name": WORKFLOW,
                "workflow_id": _workflow_id(generation_id, attempt),
                "app_version": VERSION,
            },
            generation_id,
            attempt,
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
                "workflow_id": _webhook_id(number, turn),
                "app_version": VERSION,
                "delay_seconds": after_seconds,
                "queue_partition_key": account,
            },
            number,
            turn,
        )

    def lost_webhooks(self, waiting: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Of these `(number, turn)`, the ones whose workflow never runs again."""
        names = {_webhook_id(*one): one for one in waiting}
        for name, _ in self._dead(names):
            yield names[name]

    def lost(self, unfinished: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, str]]:
        """Of these `(generation id, attempt)`, the ones whose workflow never runs again, with the word for why.

        The word is DBOS's, or MISSING, or OUTDATED: of another `VERSION`, which no worker takes up.
        """
        names = {_workflow_id(id, attempt): (id, attempt) for id, attempt in unfinished}
        for name, why in self._dead(names):
            yield *names[name], why

    def _dead(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        for some in _batches(names, LOOK_UP):
            found = self._client.list_workflows(workflow_ids=some, load_input=False, load_output=False)
            known = {status.workflow_id: status for status in found}
            for name in some:
                status = known.get(name)
                if status is None:
                    yield name, "MISSING"
                elif status.status not in LIVE:
                    yield name, status.status
                elif status.app_version != VERSION:
                    yield name, "OUTDATED"

    def open_queue(self, concurrency: int) -> None:
        """Before an executor is launched: one that finds no queue looks again only after a second."""
        self._client.register_queue(
            QUEUE, worker_concurrency=concurrency, polling_interval_sec=POLL_SECONDS, application_name=NAME
        )
        self._client.register_queue(
            WEBHOOK_QUEUE,
            worker_concurrency=MOST_WEBHOOKS,
            partition_worker_concurrency=MOST_WEBHOOKS_OF_ACCOUNT,
            polling_interval_sec=POLL_SECONDS,
            application_name=NAME,
        )

    def num_starts(self, workflow_id: str) -> int:
        """How many workers have begun or taken up this workflow, the one that runs it now included."""
        (found,) = self._client.list_workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
        return found.recovery_attempts or 1

    def close(self) -> None:
        self._client.destroy()


class OnlyOne:
    """The right to be the executor of a name on this machine: a lock that the kernel gives back when we die."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.warning("waiting: another worker has this data folder", lock=str(path))
            fcntl.lockf(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        self._file.close()


class Executor:
    """Runs generations in this process. One for a process: DBOS allows no more."""

    def __init__(
        self, url: str, run: Run, deliver: Deliver, *, holds: OnlyOne, name: str = "local", concurrency: int = 1
    ) -> None:
        _quiet()
        self._holds = holds
        self._concurrency = concurrency
        self._workflows = Workflows(url)
        config: DBOSConfig = {
            "name": NAME,
            "system_database_url": url,
            "application_version": VERSION,
            "executor_id": name,
            "run_migrations": False,
            "notification_listener_polling_interval_sec": POLL_SECONDS,
            "log_level": "WARNING",
        }
        DBOS(config=config)

        @DBOS.workflow(name=WORKFLOW)
        def generation(generation_id: str, attempt: int) -> None:
            run(generation_id, attempt, self._steps(str(DBOS.workflow_id)))

        @DBOS.workflow(name=WEBHOOK_WORKFLOW)
        def webhook(number: int, turn: int) -> None:
            DBOS.run_step({"name": "deliver"}, deliver, number, turn)

    def start(self) -> None:
        """Takes up what an earlier process of this name left, then what is queued."""
        self._workflows.open_queue(self._concurrency)
        DBOS.listen_queues([QUEUE, WEBHOOK_QUEUE])
        DBOS.launch()

    def stop(self) -> None:
        """Leaves what is not finished to the next process of this name."""
        DBOS.destroy(destroy_registry=True)
        self._workflows.close()
        self._holds.release()

    def _steps(self, workflow_id: str) -> Step:
        """`Step` for one run of a workflow. With each result it keeps which start of the workflow made it.

        So a step knows how many workers have died since the one before it was done. DBOS counts them for the whole
        workflow, and would give up a long one that was merely interrupted often.
        """
        start, last = self._workflows.num_starts(workflow_id), 1

        def step(name: str, function: Callable[[], T]) -> T:
            nonlocal last

            def first() -> tuple[int, T]:
                if start - last >= MOST_DEATHS:
                    raise FaultError(f"{MOST_DEATHS} workers died while they tried to {name}")
                return start, function()

            last, value = DBOS.run_step({"name": name}, first)
            return value

        return step


def _workflow_id(generation_id: str, attempt: int) -> str:
    if not re.fullmatch(r"[0-9a-f-]{36}", generation_id):
        raise FaultError(f"not a generation's id: {generation_id!r}")
    return f"{generation_id}.{attempt}"


def _webhook_id(number: int, turn: int) -> str:
    return f"webhook.{number}.{turn}"


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _quiet() -> None:
    """DBOS's own log goes through ours, warnings only."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.WARNING)


__all__ = ["Deliver", "Executor", "OnlyOne", "Run", "Step", "Workflows", "migrate_workflows"]

"""Generations: what was asked, how far it is, what came of it.

Each transaction that looks at several rows and then writes locks its account first: on SQLite all of them exclude each
other anyway, on Postgres those of one account do."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from longtake.errors import Cancelled, ConflictError, UnknownError
from longtake.planning import Extent
from longtake.records.database import lock_account, lock_account_of, patiently
from longtake.records.events import tell, tell_progress
from longtake.records.generation import FailureKind, Generation, Result
from longtake.records.limits import NO_LIMITS, Limits, check_usage, limits_of
from longtake.records.moving import Enqueue, Mover
from longtake.records.reading import PLAIN, GenerationReader
from longtake.records.repeats import Create, keep, made_by
from longtake.records.seen import SeenRecords
from longtake.records.tables import generations, parents
from longtake.records.uploads import UploadRecords, extent_json
from longtake.records.webhooks import EnqueueWebhook, WebhookRecords
from longtake.records.workers import WorkerRecords


class Records(Mover, GenerationReader, SeenRecords, UploadRecords):
    """The one writer of generations and uploads."""

    def __init__(
        self,
        engine: sa.Engine,
        enqueue: Enqueue,
        enqueue_webhook: EnqueueWebhook | None = None,
        *,
        patience_seconds: float = 0.0,
    ) -> None:
        """`patience_seconds`: so long what a worker reads and says waits for a database that is away."""
        super().__init__(engine, patience_seconds)
        self._enqueue = enqueue
        self.webhooks = WebhookRecords(engine, enqueue_webhook or (lambda *_: None))
        self.workers = WorkerRecords(engine)

    def close(self) -> None:
        self._engine.dispose()

    def submit(self, generation: Generation, *, limits: Limits = NO_LIMITS, create: Create | None = None) -> Generation:
        """Takes the order: the record and its workflow come to be in one commit. Returns what is recorded: where
        `create` came before, what it made then.

        A generation whose parents still run is handed to the workflows when the last of them ends.
        Raises UnknownError or ConflictError for a parent that can't be extended, CreditError, LimitError.
        """
        account = generation.account
        with self._engine.begin() as connection:
            lock_account(connection, account)
            if create and (made := self._repeated(connection, account, create)):
                return made
            states = [self._parent_state(connection, parent, account, end) for end, parent in generation.parents]
            check_usage(connection, generation, limits)
            if create:
                keep(connection, account, create, generation.id, generation.created_at)
            values = {name: getattr(generation, name) for name in PLAIN}
            connection.execute(
                sa.insert(generations).values(
                    **values,
                    ordered_at=generation.created_at,
                    order=generation.order.to_json(),
                    extent=extent_json(generation.extent),
                )
            )
            if generation.parents:
                rows = [{"child_id": generation.id, "end": end, "parent_id": id} for end, id in generation.parents]
                connection.execute(sa.insert(parents).values(rows))
            tell(connection, generation.id, account, "generation.updated", "queued", "queued", 0.0)
            if all(state == "completed" for state in states):
                self._enqueue(connection, generation.turn)
        return generation

    def repeated(self, account: str, create: Create) -> Generation | None:
        """What this create has made already. Raises ConflictError where that is gone, or another order."""
        with self._reader.begin() as connection:
            return self._repeated(connection, account, create)

    # What a worker says is said of one attempt: after a cancel and a retry, an older attempt may still run for a
    # while, and must neither end the newer one nor go on in its name.

    @patiently
    def start(self, id: str, attempt: int) -> Generation | None:
        """The generation, now dreaming; None where this attempt is over. A second start of it is a resume."""
        with self._engine.begin() as connection:
            self._lock_of(connection, id)
            self._move(connection, id, "dreaming", only_attempt=attempt, stage="started", started_at=time.time())
            generation = self._one(connection, id)
        return generation if (generation.state, generation.attempt) == ("dreaming", attempt) else None

    def report(self, id: str, attempt: int, stage: str, progress: float) -> None:
        """How far the rendering is: `progress` from 0 to 1. Raises Cancelled where it was taken back.

        It waits for no database that is away: frames are made meanwhile.
        """
        with self._at_once.begin() as connection:
            if not tell_progress(connection, id, attempt, stage, progress):
                raise Cancelled("cancelled")

    @patiently
    def charge(self, id: str, attempt: int, credits: float, limits: Limits = NO_LIMITS) -> None:
        """What it costs, where that is known only as it runs. `limits`: the house's, for keys without their own.

        Raises Cancelled, CreditError, LimitError: then nothing changes.
        """
        mine = sa.update(generations).where(generations.c.id == id)
        with self._engine.begin() as connection:
            self._lock_of(connection, id)
            generation = self._one(connection, id)
            if (generation.state, generation.attempt) != ("dreaming", attempt):
                raise Cancelled("cancelled")
            if credits > generation.credits:
                connection.execute(mine.values(credits=0.0))  # the old cost does not count against the new one
                day = limits_of(connection, generation.key_id).over(limits).seconds_per_day
                check_usage(connection, replace(generation, credits=credits), Limits(seconds_per_day=day))
            connection.execute(mine.values(credits=credits))

    @patiently
    def complete(self, id: str, attempt: int, result: Result) -> bool:
        """One commit: completed, and its children free to run. False where this attempt is over with no such result."""
        extent = Extent(result.timeline.format, result.timeline.num_frames)
        values = {"stage": "completed", "progress": 1.0, "result": result.to_json(), "extent": extent_json(extent)}
        with self._engine.begin() as connection:
            self._lock_of(connection, id)
            figures = {"reversal": result.reversal}
            if not self._end(connection, id, "completed", only_attempt=attempt, figures=figures, **values):
                return self._stands(connection, id, attempt, result)
            self._free_children(connection, id)
        return True

    @patiently
    def fail(self, id: str, reason: str, kind: FailureKind, *, attempt: int | None = None) -> bool:
        """One commit: failed, for a reason that the client may read, and its waiting children with it.

        False where it has ended, or where `attempt` is given and over.
        """
        with self._engine.begin() as connection:
            self._lock_of(connection, id)
            return self._fail(connection, id, reason, kind, attempt)

    def begin_anew(self, id: str, attempt: int) -> bool:
        """Queues another attempt in the place of one that no worker takes up. False where that one is over."""
        anew: dict[str, Any] = {"stage": "queued", "progress": 0.0, "attempt": attempt + 1}
        with self._engine.begin() as connection:
            self._lock_of(connection, id)
            if not self._move(connection, id, "queued", only_attempt=attempt, **anew):
                return False
            self._enqueue(connection, self._one(connection, id).turn)
            return True

    def retry(self, id: str, account: str, *, key_id: str | None = None, limits: Limits = NO_LIMITS) -> Generation:
        """A failed one is queued again, at the cost of the key `key_id`; None: of the key that it was ordered with.

        Raises UnknownError, ConflictError, CreditError, LimitError.
        """
        with self._engine.begin() as connection:
            lock_account(connection, account)
            generation = self._one(connection, id, account)
            if generation.state != "failed":
                raise ConflictError(f"only a failed generation can be tried again; {id} is {generation.state}")
            states = [self._parent_state(connection, parent, account, end) for end, parent in generation.parents]
            generation = replace(generation, key_id=key_id or generation.key_id)
            check_usage(connection, generation, limits)
            attempt = generation.attempt + 1
            anew: dict[str, Any] = {"key_id": generation.key_id, "ordered_at": time.time(), "attempt": attempt}
            cleared = dict.fromkeys(("failure_reason", "failure_kind", "started_at", "ended_at"))
            self._move(connection, id, "queued", stage="queued", progress=0.0, **anew, **cleared)
            generation = self._one(connection, id)
            if all(state == "completed" for state in states):
                self._enqueue(connection, generation.turn)
            return generation

    def delete(self, id: str, account: str) -> Generation:
        """It is gone for its account, and cancelled where it still runs. Returns what it was. Raises UnknownError."""
        with self._engine.begin() as connection:
            lock_account(connection, account)
            generation = self._one(connection, id, account)
            self._fail(connection, id, "cancelled", "cancelled")
            connection.execute(sa.update(generations).where(generations.c.id == id).values(deleted_at=time.time()))
        return generation

    def _stands(self, connection: sa.Connection, id: str, attempt: int, result: Result) -> bool:
        """Whether this attempt has completed with this very result: it was said before, and the answer was lost."""
        query = sa.select(generations.c.state, generations.c.attempt, generations.c.result)
        row = connection.execute(query.where(generations.c.id == id)).one_or_none()
        if row is None or (row.state, row.attempt) != ("completed", attempt):
            return False
        return Result.from_json(row.result) == result

    def _lock_of(self, connection: sa.Connection, id: str) -> None:
        lock_account_of(connection, generations.c.account, generations.c.id == id)

    def _repeated(self, connection: sa.Connection, account: str, create: Create) -> Generation | None:
        id = made_by(connection, account, create)
        if id is None:
            return None
        try:
            return self._one(connection, id, account)
        except UnknownError:
            raise ConflictError(f"this was sent before, and made generation {id}, which was deleted") from None

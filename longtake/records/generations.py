"""Generations: what was asked, how far it is, what came of it.

States are moved in one place, `Records._move`, by the table `MOVES`, under the database's lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from longtake.errors import Cancelled, ConflictError, UnknownError
from longtake.planning import Extent
from longtake.records.generation import ENDED, MOVES, FailureKind, Generation, Result, State
from longtake.records.limits import NO_LIMITS, Limits, check_usage, limits_of
from longtake.records.reading import PLAIN, GenerationReader
from longtake.records.repeats import Create, keep, made_by
from longtake.records.tables import events, generations, parents
from longtake.records.uploads import UploadRecords, extent_json
from longtake.records.webhooks import TOLD, UNTOLD, EnqueueWebhook, WebhookRecords

Enqueue = Callable[[sa.Connection, str, int], None]
"""Hands a generation (its id and attempt) to the workflows, inside the caller's transaction."""


class Records(GenerationReader, UploadRecords):
    """The one writer of generations and uploads."""

    def __init__(self, engine: sa.Engine, enqueue: Enqueue, enqueue_webhook: EnqueueWebhook | None = None) -> None:
        super().__init__(engine)
        self._enqueue = enqueue
        self.webhooks = WebhookRecords(engine, enqueue_webhook or (lambda *_: None))

    def close(self) -> None:
        self._engine.dispose()

    def submit(self, generation: Generation, *, limits: Limits = NO_LIMITS, create: Create | None = None) -> Generation:
        """Takes the order: the record and its workflow come to be in one commit. Returns what is recorded: where
        `create` came before, what it made then.

        A generation whose parents still run is handed to the workflows when the last of them ends.
        Raises UnknownError or ConflictError for a parent that can't be extended, CreditError, LimitError.
        """
        with self._engine.begin() as connection:
            if create and (made := self._repeated(connection, generation.account, create)):
                return made
            states = [
                self._parent_state(connection, parent_id, generation.account, end)
                for end, parent_id in generation.parents
            ]
            check_usage(connection, generation, limits)
            if create:
                keep(connection, generation.account, create, generation.id, generation.created_at)
            values = {name: getattr(generation, name) for name in PLAIN}
            connection.execute(
                sa.insert(generations).values(
                    **values,
                    ordered_at=generation.created_at,
                    order=generation.order.to_json(),
                    extent=extent_json(generation.extent),
                )
            )
            for end, parent_id in generation.parents:
                connection.execute(sa.insert(parents).values(child_id=generation.id, end=end, parent_id=parent_id))
            self._tell(connection, generation.id, generation.account, "generation.updated", "queued", "queued", 0.0)
            if all(state == "completed" for state in states):
                self._enqueue(connection, generation.id, generation.attempt)
        return generation

    def repeated(self, account: str, create: Create) -> Generation | None:
        """What this create has made already. Raises ConflictError where that is gone, or another order."""
        with self._reader.begin() as connection:
            return self._repeated(connection, account, create)

    # What a worker says is said of one attempt: after a cancel and a retry, an older attempt may still run for a
    # while, and must neither end the newer one nor go on in its name.

    def start(self, id: str, attempt: int) -> Generation | None:
        """The generation, now dreaming; None where this attempt is over. A second start of it is a resume."""
        with self._engine.begin() as connection:
            self._move(connection, id, "dreaming", only_attempt=attempt, stage="started", started_at=time.time())
            generation = self._one(connection, id)
        return generation if (generation.state, generation.attempt) == ("dreaming", attempt) else None

    def report(self, id: str, attempt: int, stage: str, progress: float) -> None:
        """How far the rendering is: `progress` from 0 to 1. Raises Cancelled where it was taken back."""
        with self._engine.begin() as connection:
            row = connection.execute(
                sa.update(generations)
                .where(
                    generations.c.id == id,
                    generations.c.state == "dreaming",
                    generations.c.attempt == attempt,
                )
                .values(stage=stage, progress=progress, updated_at=time.time())
                .returning(generations.c.account)
            ).one_or_none()
            if row is None:
                raise Cancelled("cancelled")
            self._tell(connection, id, row.account, "generation.progress", "dreaming", stage, progress)

    def charge(self, id: str, attempt: int, credits: float, limits: Limits = NO_LIMITS) -> None:
        """What it costs, where that is known only as it runs. `limits`: the house's, for keys without their own.

        Raises Cancelled, CreditError, LimitError: then nothing changes.
        """
        mine = sa.update(generations).where(generations.c.id == id)
        with self._engine.begin() as connection:
            generation = self._one(connection, id)
            if (generation.state, generation.attempt) != ("dreaming", attempt):
                raise Cancelled("cancelled")
            if credits > generation.credits:
                connection.execute(mine.values(credits=0.0))  # the old cost does not count against the new one
                day = limits_of(connection, generation.key_id).over(limits).seconds_per_day
                check_usage(connection, replace(generation, credits=credits), Limits(seconds_per_day=day))
            connection.execute(mine.values(credits=credits))

    def complete(self, id: str, attempt: int, result: Result) -> bool:
        """One commit: completed, and its children free to run. False where this attempt is over."""
        extent = Extent(result.timeline.format, result.timeline.num_frames)
        values = {"stage": "completed", "progress": 1.0, "result": result.to_json(), "extent": extent_json(extent)}
        with self._engine.begin() as connection:
            figures = {"reversal": result.reversal}
            if not self._end(connection, id, "completed", only_attempt=attempt, figures=figures, **values):
                return False
            for child, (_, child_attempt) in self._waiting_children(connection, id).items():
                if not self._waits(connection, child):
                    self._enqueue(connection, child, child_attempt)
        return True

    def fail(self, id: str, reason: str, kind: FailureKind, *, attempt: int | None = None) -> bool:
        """One commit: failed, for a reason that the client may read, and its waiting children with it.

        False where it has ended, or where `attempt` is given and over.
        """
        with self._engine.begin() as connection:
            return self._fail(connection, id, reason, kind, attempt)

    def begin_anew(self, id: str, attempt: int) -> bool:
        """Queues another attempt in the place of one that no worker takes up. False where that one is over."""
        with self._engine.begin() as connection:
            if not self._move(
                connection, id, "queued", only_attempt=attempt, stage="queued", progress=0.0, attempt=attempt + 1
            ):
                return False
            self._enqueue(connection, id, attempt + 1)
            return True

    def retry(self, id: str, account: str, *, key_id: str | None = None, limits: Limits = NO_LIMITS) -> Generation:
        """A failed one is queued again, at the cost of the key `key_id`; None: of the key that it was ordered with.

        Raises UnknownError, ConflictError, CreditError, LimitError.
        """
        with self._engine.begin() as connection:
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
            if all(state == "completed" for state in states):
                self._enqueue(connection, id, attempt)
            return self._one(connection, id)

    def delete(self, id: str, account: str) -> Generation:
        """It is gone for its account, and cancelled where it still runs. Returns what it was. Raises UnknownError."""
        with self._engine.begin() as connection:
            generation = self._one(connection, id, account)
            self._fail(connection, id, "cancelled", "cancelled")
            connection.execute(sa.update(generations).where(generations.c.id == id).values(deleted_at=time.time()))
        return generation

    # ---- inside one transaction

    def _move(
        self,
        connection: sa.Connection,
        id: str,
        to: State,
        *,
        only_attempt: int | None = None,
        figures: dict[str, Any] | None = None,
        **values: Any,
    ) -> bool:
        """The one place where a state changes. False where the table does not allow the move.

        `figures` are told with the event.
        """
        sources = [state for state, targets in MOVES.items() if to in targets]
        where = [generations.c.id == id, generations.c.state.in_(sources)]
        if only_attempt is not None:
            where.append(generations.c.attempt == only_attempt)
        row = connection.execute(
            sa.update(generations)
            .where(*where)
            .values(state=to, updated_at=time.time(), **values)
            .returning(
                generations.c.account,
                generations.c.stage,
                generations.c.progress,
                generations.c.failure_reason,
                generations.c.order,
                generations.c.wire,
            )
        ).one_or_none()
        if row is None:
            return False
        url = row._mapping["order"]["callback_url"]
        if url and to in TOLD and (row.wire, to) not in UNTOLD:
            self.webhooks.plan(connection, id, row.account, to, url, row.failure_reason)
        kind = f"generation.{to}" if to in ENDED else "generation.updated"
        self._tell(connection, id, row.account, kind, to, row.stage, row.progress, figures)
        return True

    def _end(self, connection: sa.Connection, id: str, to: State, **values: Any) -> bool:
        if not self._move(connection, id, to, ended_at=time.time(), **values):
            return False
        connection.execute(
            sa.delete(events).where(events.c.generation_id == id, events.c.type == "generation.progress")
        )
        return True

    def _fail(
        self, connection: sa.Connection, id: str, reason: str, kind: FailureKind, attempt: int | None = None
    ) -> bool:
        """Fails it, and all that wait for it, however far down the chain: a retry of it is not theirs."""
        told: dict[str, Any] = {"stage": "failed", "failure_reason": reason, "failure_kind": kind}
        if not self._end(connection, id, "failed", only_attempt=attempt, **told):
            return False
        failed = [id]
        for parent in failed:  # grows as it goes
            for child, (end, _) in self._waiting_children(connection, parent).items():
                told = {
                    "stage": "failed",
                    "failure_reason": f"keyframes.{end}: generation {parent} failed: {reason}",
                    "failure_kind": "caller",
                }
                if self._end(connection, child, "failed", **told):
                    failed.append(child)
        return True

    def _waiting_children(self, connection: sa.Connection, id: str) -> dict[str, tuple[str, int]]:
        """The queued children of a generation: id → (the end that it stands at, attempt)."""
        query = (
            sa.select(parents.c.child_id, parents.c.end, generations.c.attempt)
            .join(generations, generations.c.id == parents.c.child_id)
            .where(parents.c.parent_id == id, generations.c.state == "queued")
        )
        return {child: (end, attempt) for child, end, attempt in connection.execute(query).all()}

    def _waits(self, connection: sa.Connection, child: str) -> bool:
        query = (
            sa.select(sa.func.count())
            .select_from(parents.join(generations, generations.c.id == parents.c.parent_id))
            .where(parents.c.child_id == child, generations.c.state.not_in(ENDED))
        )
        return bool(connection.execute(query).scalar_one())

    def _tell(
        self,
        connection: sa.Connection,
        id: str,
        account: str,
        kind: str,
        state: str,
        stage: str,
        progress: float,
        figures: dict[str, Any] | None = None,
    ) -> None:
        data = {"id": id, "state": state, "stage": stage, "progress": round(progress, 4), **(figures or {})}
        connection.execute(
            sa.insert(events).values(generation_id=id, account=account, type=kind, data=data, created_at=time.time())
        )

    def _repeated(self, connection: sa.Connection, account: str, create: Create) -> Generation | None:
        id = made_by(connection, account, create)
        if id is None:
            return None
        try:
            return self._one(connection, id, account)
        except UnknownError:
            raise ConflictError(f"this was sent before, and made generation {id}, which was deleted") from None

"""How generations move from state to state: all of it inside one transaction that has locked their account."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from longtake.records.events import PROGRESS, tell
from longtake.records.generation import ENDED, MOVES, UNENDED, FailureKind, State, Turn
from longtake.records.tables import events, generations, parents
from longtake.records.webhooks import TOLD, UNTOLD, WebhookRecords

Enqueue = Callable[[sa.Connection, Turn], None]
"""Hands an attempt at a generation to the workflows, inside the caller's transaction."""

OF_AN_END = re.compile(r"^keyframes\.frame[01](\.[a-z]+)?: ")
"""How a reason begins that is about one end of an order."""


class Mover:
    """Moves. Who inherits from it says what enqueues, and who plans webhooks."""

    webhooks: WebhookRecords
    _enqueue: Enqueue

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
        tell(connection, id, row.account, kind, to, row.stage, row.progress, figures)
        return True

    def _end(self, connection: sa.Connection, id: str, to: State, **values: Any) -> bool:
        if not self._move(connection, id, to, ended_at=time.time(), **values):
            return False
        connection.execute(sa.delete(events).where(events.c.generation_id == id, events.c.type == PROGRESS))
        return True

    def _fail(
        self, connection: sa.Connection, id: str, reason: str, kind: FailureKind, attempt: int | None = None
    ) -> bool:
        """Fails it, and all that wait for it, however far down the chain: a retry of it is not theirs."""
        told: dict[str, Any] = {"stage": "failed", "failure_reason": reason, "failure_kind": kind}
        if not self._end(connection, id, "failed", only_attempt=attempt, **told):
            return False
        why = OF_AN_END.sub("", reason)  # an end of the parent is none of the child's
        failed = [id]
        for parent in failed:  # grows as it goes
            for end, child in self._waiting_children(connection, parent):
                told = {
                    "stage": "failed",
                    "failure_reason": f"keyframes.{end}: generation {parent} failed: {why}",
                    "failure_kind": "caller",
                }
                if self._end(connection, child.id, "failed", **told):
                    failed.append(child.id)
        return True

    def _free_children(self, connection: sa.Connection, id: str) -> None:
        """Hands those children of a completed one over that wait for no other parent."""
        for turn in dict.fromkeys(child for _, child in self._waiting_children(connection, id)):
            if not self._waits(connection, turn.id):
                self._enqueue(connection, turn)

    def _waiting_children(self, connection: sa.Connection, id: str) -> list[tuple[str, Turn]]:
        """The queued children of a generation, each with the end that it stands at."""
        query = (
            sa.select(parents.c.end, generations)
            .join(generations, generations.c.id == parents.c.child_id)
            .where(parents.c.parent_id == id, generations.c.state == "queued")
        )
        return [(row.end, turn_of(row)) for row in connection.execute(query)]

    def _waits(self, connection: sa.Connection, child: str) -> bool:
        query = (
            sa.select(sa.func.count())
            .select_from(parents.join(generations, generations.c.id == parents.c.parent_id))
            .where(parents.c.child_id == child, generations.c.state.in_(UNENDED))
        )
        return bool(connection.execute(query).scalar_one())


def turn_of(row: sa.Row[Any]) -> Turn:
    """Of a row of `generations`."""
    return Turn(row.id, row.attempt, row.engine, row.account, row._mapping["order"].get("priority", 0))

"""What is told to clients' own addresses: one row for each thing that is to be told, in the commit that made it true.

Of one generation, one row at a time is on its way: the oldest that waits. When it has ended, the next one's turn comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.errors import UnknownError
from longtake.records.database import lock_account_of
from longtake.records.generation import State
from longtake.records.tables import webhooks

EnqueueWebhook = Callable[[sa.Connection, int, int, float, str], None]
"""Hands a webhook (its number and turn) to the workflows, to run after so many seconds and among those of this account,
inside the transaction."""
WebhookState = Literal["waiting", "delivered", "given_up"]
TOLD: frozenset[State] = frozenset({"dreaming", "completed", "failed"})
"""States that are told of."""
UNTOLD = frozenset({("openai", "dreaming")})
"""Protocols that have no word for it."""
KEPT_SECONDS = 30 * 86400.0
"""How long one that has ended can be looked at and sent anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One thing to be told. Times are Unix seconds."""

    number: int
    generation_id: str
    account: str
    event: State
    url: str
    failure_reason: str | None
    """Of the generation, when it was in that state."""
    state: WebhookState
    turn: int
    """Which workflow tries now: one for each try."""
    tries: int
    """Since it was first sent, or sent anew by hand."""
    created_at: float
    since: float
    """When the first of these tries was due."""
    next_at: float | None
    ended_at: float | None
    problem: str | None
    """What the last try met."""

    @property
    def message_id(self) -> str:
        """The same at every try."""
        return f"msg_{self.generation_id}_{self.number}"


class WebhookRecords:
    """The one writer and reader of webhooks."""

    def __init__(self, engine: sa.Engine, enqueue: EnqueueWebhook) -> None:
        self._engine = engine
        self._reader = read_only(engine)
        self._enqueue = enqueue

    def plan(
        self,
        connection: sa.Connection,
        generation_id: str,
        account: str,
        event: State,
        url: str,
        failure_reason: str | None,
    ) -> None:
        """Inside the transaction that makes it true."""
        waits = self._oldest(connection, generation_id) is not None
        now = time.time()
        inserted = connection.execute(
            sa.insert(webhooks).values(
                generation_id=generation_id,
                account=account,
                event=event,
                url=url,
                failure_reason=failure_reason,
                state="waiting",
                turn=1,
                tries=0,
                created_at=now,
                since=now,
                next_at=now,
            )
        )
        if not waits:
            assert inserted.inserted_primary_key
            self._enqueue(connection, inserted.inserted_primary_key[0], 1, 0.0, account)

    def turn(self, number: int, turn: int) -> Webhook | None:
        """What is to be sent; None where this turn is over, or another one's time has come since."""
        with self._reader.begin() as connection:
            found = self._one(connection, number)
            oldest = self._oldest(connection, found.generation_id)
        return found if (found.state, found.turn, oldest) == ("waiting", turn, number) else None

    def delivered(self, number: int, turn: int) -> None:
        """The receiver has taken it. The next one of the same generation goes on its way."""
        self._end(number, turn, "delivered", None)

    def give_up(self, number: int, turn: int, problem: str) -> None:
        self._end(number, turn, "given_up", problem)

    def try_again(self, number: int, turn: int, problem: str, after_seconds: float) -> None:
        """It did not arrive: another try in so many seconds."""
        with self._engine.begin() as connection:
            self._lock_of(connection, number)
            values = {"turn": turn + 1, "tries": webhooks.c.tries + 1, "problem": problem}
            if self._change(connection, number, turn, **values, next_at=time.time() + after_seconds):
                self._hand_over(connection, number, after_seconds)

    def redeliver(self, number: int) -> None:
        """Sends it once more, with as many tries as a new one has. Raises UnknownError."""
        with self._engine.begin() as connection:
            self._lock_of(connection, number)
            webhook, now = self._one(connection, number), time.time()
            values = {"state": "waiting", "turn": webhook.turn + 1, "tries": 0, "since": now, "next_at": now}
            where = webhooks.c.number == number
            connection.execute(sa.update(webhooks).where(where).values(**values, ended_at=None, problem=None))
            if self._oldest(connection, webhook.generation_id) == number:
                self._hand_over(connection, number)

    def get(self, number: int) -> Webhook:
        """Raises UnknownError."""
        with self._reader.begin() as connection:
            return self._one(connection, number)

    def on_their_way(self) -> list[tuple[int, int]]:
        """`(number, turn)` of those whose turn it is: each should have a live workflow."""
        first = (
            sa.select(sa.func.min(webhooks.c.number).label("number"))
            .where(webhooks.c.state == "waiting")
            .group_by(webhooks.c.generation_id)
            .subquery()
        )
        on = first.c.number == webhooks.c.number
        query = sa.select(webhooks.c.number, webhooks.c.turn).join(first, on).order_by(webhooks.c.number)
        with self._reader.begin() as connection:
            return [(number, turn) for number, turn in connection.execute(query)]

    def begin_anew(self, number: int, turn: int) -> None:
        """Another workflow in the place of one that was lost."""
        with self._engine.begin() as connection:
            self._lock_of(connection, number)
            if self._change(connection, number, turn, turn=turn + 1, next_at=time.time()):
                self._hand_over(connection, number)

    def forget_old(self) -> None:
        """Removes what ended long ago."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(webhooks).where(webhooks.c.ended_at < time.time() - KEPT_SECONDS))

    def page(
        self, *, state: WebhookState | None = None, generation_id: str | None = None, limit: int = 100
    ) -> list[Webhook]:
        """Newest first."""
        query = sa.select(webhooks).order_by(webhooks.c.number.desc()).limit(limit)
        if state is not None:
            query = query.where(webhooks.c.state == state)
        if generation_id is not None:
            query = query.where(webhooks.c.generation_id == generation_id)
        with self._reader.begin() as connection:
            return [_webhook(row) for row in connection.execute(query)]

    def _end(self, number: int, turn: int, state: WebhookState, problem: str | None) -> None:
        with self._engine.begin() as connection:
            self._lock_of(connection, number)
            values = {"state": state, "tries": webhooks.c.tries + 1, "problem": problem, "next_at": None}
            if not self._change(connection, number, turn, **values, ended_at=time.time()):
                return
            following = self._oldest(connection, self._one(connection, number).generation_id)
            if following is not None:  # a turn of its own: its last one may have come too early, and ended
                where = webhooks.c.number == following
                connection.execute(sa.update(webhooks).where(where).values(turn=webhooks.c.turn + 1))
                self._hand_over(connection, following)

    def _lock_of(self, connection: sa.Connection, number: int) -> None:
        lock_account_of(connection, webhooks.c.account, webhooks.c.number == number)

    def _hand_over(self, connection: sa.Connection, number: int, after_seconds: float = 0.0) -> None:
        webhook = self._one(connection, number)
        self._enqueue(connection, number, webhook.turn, after_seconds, webhook.account)

    def _change(self, connection: sa.Connection, number: int, of_turn: int, /, **values: Any) -> bool:
        """False where that turn is over."""
        where = (webhooks.c.number == number, webhooks.c.turn == of_turn, webhooks.c.state == "waiting")
        return bool(connection.execute(sa.update(webhooks).where(*where).values(**values)).rowcount)

    def _oldest(self, connection: sa.Connection, generation_id: str) -> int | None:
        """The one whose turn it is."""
        number: int | None = connection.execute(
            sa.select(sa.func.min(webhooks.c.number)).where(
                webhooks.c.generation_id == generation_id, webhooks.c.state == "waiting"
            )
        ).scalar_one()
        return number

    def _one(self, connection: sa.Connection, number: int) -> Webhook:
        row = connection.execute(sa.select(webhooks).where(webhooks.c.number == number)).one_or_none()
        if row is None:
            raise UnknownError(f"there is no webhook {number}")
        return _webhook(row)


def _webhook(row: sa.Row[Any]) -> Webhook:
    return Webhook(**dict(row._mapping))

"""What a key may use: credits in all, and how much at once, a minute and a day."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import sqlalchemy as sa

from longtake.errors import CreditError, LimitError
from longtake.records.generation import ENDED, Generation
from longtake.records.tables import generations, keys

DAY_SECONDS = 86400.0
AT_ONCE_RETRY_SECONDS = 5.0
"""When to try again where too many run: nobody knows when one of them ends."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit."""

    requests_per_minute: int | None = None
    generations_at_once: int | None = None
    """That are queued or being rendered."""
    seconds_per_day: float | None = None
    """Of video ordered in the last 24 hours; what failed does not count."""

    def over(self, others: Limits) -> Limits:
        """These, and where there is none, the others."""
        given = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) is not None}
        return replace(others, **given)


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a key uses now, in the words of `Limits`, and the credits that it has used in all."""

    credits: float
    generations_at_once: int
    seconds_per_day: float


def usage(connection: sa.Connection, key_id: str, now: float) -> Usage:
    """What the key's generations take; a failed one takes none."""
    mine = generations.c.key_id == key_id
    credits = sa.func.coalesce(sa.func.sum(generations.c.credits), 0.0)
    counts = (generations.c.state != "failed") & mine
    total = connection.execute(sa.select(credits).where(counts)).scalar_one()
    today = connection.execute(sa.select(credits).where(counts, generations.c.created_at > now - DAY_SECONDS))
    running = sa.select(sa.func.count()).where(mine, generations.c.state.not_in(ENDED))
    return Usage(float(total), int(connection.execute(running).scalar_one()), float(today.scalar_one()))


def check_usage(connection: sa.Connection, generation: Generation, limits: Limits) -> None:
    """Raises CreditError where the key can't pay for it, LimitError where it has to wait until it may."""
    credits = connection.execute(sa.select(keys.c.credits).where(keys.c.id == generation.key_id)).scalar_one_or_none()
    if credits is None and limits.generations_at_once is None and limits.seconds_per_day is None:
        return
    now, cost = time.time(), generation.credits
    used = usage(connection, generation.key_id, now)
    if credits is not None and used.credits + cost > credits:
        left = max(0.0, credits - used.credits)
        raise CreditError(f"this costs {cost:g} credits, and the key has {left:g} left")
    most = limits.generations_at_once
    if most is not None and used.generations_at_once >= most:
        raise LimitError(
            f"the key may have {most} generations at once, and has {used.generations_at_once}: wait for one to end",
            retry_after_seconds=AT_ONCE_RETRY_SECONDS,
        )
    day = limits.seconds_per_day
    if day is not None and cost > day:
        raise CreditError(f"this asks for {cost:g} s of video, and the key may order {day:g} s a day")
    if day is not None and used.seconds_per_day + cost > day:
        left = max(0.0, day - used.seconds_per_day)
        raise LimitError(
            f"the key may order {day:g} s of video a day, and {left:g} s of it are left",
            retry_after_seconds=_until_free(connection, generation.key_id, now, used.seconds_per_day + cost - day),
        )


def _until_free(connection: sa.Connection, key_id: str, now: float, seconds: float) -> float:
    """How long until so many seconds of video were ordered more than a day ago."""
    query = (
        sa.select(generations.c.created_at, generations.c.credits)
        .where(
            generations.c.key_id == key_id,
            generations.c.state != "failed",
            generations.c.created_at > now - DAY_SECONDS,
        )
        .order_by(generations.c.created_at)
    )
    for created_at, credits in connection.execute(query):
        seconds -= credits
        if seconds <= 0:
            return float(created_at) + DAY_SECONDS - now
    return DAY_SECONDS

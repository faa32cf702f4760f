"""What a key may use: credits in all, and how much at once, a minute and a day."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from longtake.errors import CreditError, LimitError
from longtake.records.generation import MOVES, UNENDED, Generation
from longtake.records.tables import generations, keys

DAY_SECONDS = 86400.0
COUNTED = tuple(state for state in MOVES if state != "failed")
"""States whose generations take of what a key may use."""
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


def limits_of(connection: sa.Connection, key_id: str) -> Limits:
    """A key's own."""
    columns = [keys.c[name] for name in Limits.__dataclass_fields__]
    row = connection.execute(sa.select(*columns).where(keys.c.id == key_id)).one_or_none()
    return Limits(*row) if row else NO_LIMITS


def usage(connection: sa.Connection, key_id: str, now: float) -> Usage:
    """What the key's generations take; a failed one takes none."""
    figures = _credits(key_id), _running(key_id), _credits(key_id, now - DAY_SECONDS)
    credits, running, today = connection.execute(sa.select(*(one.scalar_subquery() for one in figures))).one()
    return Usage(float(credits), int(running), float(today))


# All of what follows stands in the index `generations_by_key`: no row, with an order in it, is read.


def _credits(key_id: str, since: float | None = None) -> sa.Select[Any]:
    return sa.select(sa.func.coalesce(sa.func.sum(generations.c.credits), 0.0)).where(*_counted(key_id, since))


def _running(key_id: str) -> sa.Select[Any]:
    where = generations.c.key_id == key_id, generations.c.state.in_(UNENDED)
    return sa.select(sa.func.count()).select_from(generations).where(*where)


def _counted(key_id: str, since: float | None) -> list[sa.ColumnElement[bool]]:
    where = [generations.c.key_id == key_id, generations.c.state.in_(COUNTED)]
    return where if since is None else [*where, generations.c.ordered_at > since]


def check_usage(connection: sa.Connection, generation: Generation, limits: Limits) -> None:
    """Raises CreditError where the key can't pay for it, LimitError where it has to wait until it may.

    With the account locked: what is counted here stands until this transaction ends.
    """
    now, cost, key_id = time.time(), generation.credits, generation.key_id
    most, day = limits.generations_at_once, limits.seconds_per_day
    credits, used, running, today = _standing(connection, key_id, most, day, now)
    if credits is not None and used + cost > credits:
        left = max(0.0, credits - used)
        raise CreditError(f"this costs {cost:g} credits, and the key has {left:g} left")
    if most is not None and running >= most:
        raise LimitError(
            f"the key may have {most} generations at once, and has {running}: wait for one to end",
            retry_after_seconds=AT_ONCE_RETRY_SECONDS,
        )
    if day is not None and cost > day:
        raise CreditError(f"this asks for {cost:g} s of video, and the key may order {day:g} s a day")
    if day is not None and today + cost > day:
        left = max(0.0, day - today)
        raise LimitError(
            f"the key may order {day:g} s of video a day, and {left:g} s of it are left",
            retry_after_seconds=_until_free(connection, key_id, now, today + cost - day),
        )


def _standing(
    connection: sa.Connection, key_id: str, most: int | None, day: float | None, now: float
) -> tuple[float | None, float, int, float]:
    """The key's credits, those used, how many run, and the seconds of today, in one round trip.

    What nothing limits is not counted: of a key without credits, no row is read.
    """
    used = sa.case((keys.c.credits.is_not(None), _credits(key_id).scalar_subquery()), else_=0.0)
    running = _running(key_id).scalar_subquery() if most is not None else sa.literal(0)
    today = _credits(key_id, now - DAY_SECONDS).scalar_subquery() if day is not None else sa.literal(0.0)
    # The key itself may be gone, or be none of ours: what it used counts all the same.
    one = sa.select(sa.literal(key_id, keys.c.id.type).label("id")).subquery()
    joined = one.outerjoin(keys, keys.c.id == one.c.id)
    row = connection.execute(sa.select(keys.c.credits, used, running, today).select_from(joined)).one()
    return row[0], float(row[1]), int(row[2]), float(row[3])


def _until_free(connection: sa.Connection, key_id: str, now: float, seconds: float) -> float:
    """How long until so many seconds of video were ordered more than a day ago."""
    query = sa.select(generations.c.ordered_at, generations.c.credits).where(*_counted(key_id, now - DAY_SECONDS))
    for ordered_at, credits in connection.execute(query.order_by(generations.c.ordered_at)):
        seconds -= credits
        if seconds <= 0:
            return float(ordered_at) + DAY_SECONDS - now
    return DAY_SECONDS

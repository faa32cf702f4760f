"""How many requests a key may send in a minute, counted for all machines at once."""

from __future__ import annotations

import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.records.database import insert
from longtake.records.tables import rates

MINUTE_SECONDS = 60.0


def count_request(engine: sa.Engine, key_id: str, rate_per_minute: int, now: float) -> float:
    """Counts one request. Returns 0, or how many seconds the key has to wait: then nothing is counted.

    The generic cell rate algorithm (ITU-T I.371): a key may send a minute's worth at once, and then at its rate. One
    time is kept for each key: when what it has sent would have been sent at its rate. `now`: Unix seconds.
    """
    interval = MINUTE_SECONDS / rate_per_minute
    latest = now + MINUTE_SECONDS - interval + interval / 1e6
    begins = sa.case((rates.c.until > now, rates.c.until), else_=now)
    with read_only(engine).begin() if engine.dialect.name == "postgresql" else engine.begin() as connection:
        statement = insert(connection, rates).values(key_id=key_id, until=now + interval)
        taken = statement.on_conflict_do_update(
            index_elements=[rates.c.key_id], set_={"until": begins + interval}, where=rates.c.until <= latest
        )
        if connection.execute(taken.returning(rates.c.until)).scalar_one_or_none() is not None:
            return 0.0
        until = connection.execute(sa.select(rates.c.until).where(rates.c.key_id == key_id)).scalar_one()
    return max(0.0, float(until) + interval - now - MINUTE_SECONDS)


def seconds_ahead(engine: sa.Engine, key_id: str, now: float) -> float:
    """How many seconds' worth of its rate a key has sent ahead: 0 to 60."""
    with read_only(engine).begin() as connection:
        until = connection.execute(sa.select(rates.c.until).where(rates.c.key_id == key_id)).scalar_one_or_none()
    return max(0.0, float(until or 0.0) - now)

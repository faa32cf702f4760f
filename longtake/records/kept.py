"""What all machines must agree on: secrets, made once."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.records.database import insert
from longtake.records.tables import secrets


def kept_secret(engine: sa.Engine, name: str, make: Callable[[], bytes]) -> bytes:
    """The secret of this name; where there is none, what `make` returns. Of several that make one, one stands."""
    query = sa.select(secrets.c.value).where(secrets.c.name == name)
    with read_only(engine).begin() as connection:
        found: bytes | None = connection.execute(query).scalar_one_or_none()
    if found is None:
        with engine.begin() as connection:
            first = insert(connection, secrets).values(name=name, value=make()).on_conflict_do_nothing()
            connection.execute(first)
            found = connection.execute(query).scalar_one()
    return bytes(found)

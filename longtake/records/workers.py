"""The workers that are there, for those who look on: what each one says of itself. Whether it lives, its lock says."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.records.database import insert
from longtake.records.tables import workers


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One process that renders."""

    id: str
    host: str
    pid: int
    engines: tuple[str, ...]
    concurrency: int
    """How many generations it renders at once."""
    started_at: float
    """In Unix seconds."""


class WorkerRecords:
    """The one writer and reader of workers."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reader = read_only(engine)

    def add(self, worker: WorkerRow) -> None:
        """Once more under the same id: it takes the place of what was said before."""
        values = {**asdict(worker), "engines": list(worker.engines)}
        with self._engine.begin() as connection:
            statement = insert(connection, workers).values(values)
            connection.execute(statement.on_conflict_do_update(index_elements=[workers.c.id], set_=values))

    def remove(self, id: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.delete(workers).where(workers.c.id == id))

    def all(self) -> list[WorkerRow]:
        """Oldest first."""
        query = sa.select(workers).order_by(workers.c.started_at, workers.c.id)
        with self._reader.begin() as connection:
            rows = connection.execute(query).all()
        return [WorkerRow(**{**row._mapping, "engines": tuple(row.engines)}) for row in rows]

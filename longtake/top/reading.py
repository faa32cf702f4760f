"""Where `longtake top` looks: the records, the locks of the workers, and what the workflows say runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from longtake.errors import WorldError
from longtake.records import Records, open_database
from longtake.records.database import lacks_tables
from longtake.top.overview import Overview, overview
from longtake.workflows import locks_of
from longtake.workflows.recovery import in_living_hands


class Looker:
    """Reads one overview after another. Changes nothing, but that a worker's lock is tried."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        self._records = Records(self._database, lambda *_: None)
        self._locks = locks_of(url)

    def close(self) -> None:
        self._locks.release()
        self._database.dispose()

    def look(self) -> Overview:
        """Raises WorldError, which says why."""
        try:
            now, workers = time.time(), self._records.workers.all()
            alive, runs = in_living_hands(self._database, self._locks, [one.id for one in workers])
            return overview(
                now,
                workers,
                alive,
                runs,
                self._records.waiting_by_engine(runs),
                self._records.running(),
                self._records.ended_lately(now),
            )
        except WorldError:
            raise
        except Exception as error:
            if lacks_tables(error):
                raise WorldError("the database has no tables of this version: longtake serve makes them") from error
            why = str(getattr(error, "orig", None) or error).partition("\n")[0]
            raise WorldError(f"the database can't be read: {why}", retryable=True) from error


@contextmanager
def looking(url: str) -> Iterator[Looker]:
    looker = Looker(url)
    try:
        yield looker
    finally:
        looker.close()


__all__ = ["Looker", "looking"]

"""Removes what no timeline and no record needs: objects, rows, and the rows of workflows that ended long ago.

It runs beside everything else, on any machine, one at a time. Nothing is held in memory but a page of keys: objects are
listed, those that are old enough are asked after a page at a time, and what nobody needs goes before the next page is
looked at. Why that is safe stands in `records.needed`.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any, Final, Protocol

from longtake.errors import CallerError, StoreError, UnknownError
from longtake.records import Records
from longtake.records.database import lacks_tables
from longtake.records.needed import Needs, ids_in
from longtake.store import Listed, Store

log = logging.getLogger(__name__)
MARK: Final = "house/id"
"""The object that says which database the store belongs to; it stays."""
PAGE: Final = 1000
"""Keys that the database is asked after at once."""
AT_ONCE: Final = 8
"""Objects that are deleted at the same time, where not all of a page could be with one request."""
DAY_SECONDS: Final = 86400.0

Kept = Callable[[Callable[[], bytes]], bytes]
"""Gives a database's own id, which it makes with what it is given where there is none."""


class Finished(Protocol):
    """The workflows that are over, as `workflows` knows them."""

    def finished(self, before: float, *, limit: int, offset: int = 0) -> list[tuple[str, str | None]]:
        """Those that ended before then, in an order that stays: workflow id, and the generation whose it was."""

    def outdated(self, before: float, *, limit: int, offset: int = 0) -> list[tuple[str, str | None]]:
        """Those that were begun before then by a version whose workers are gone, likewise."""

    def forget(self, workflow_ids: list[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Ages:
    """How old what goes must be, in seconds."""

    objects: float = 3600.0
    """Since it was put, by the store's clock: far more than between an object and the record that names it."""
    workflows: float = 7 * DAY_SECONDS
    """Since they ended."""
    events: float = 30 * DAY_SECONDS
    """Since their generation ended."""
    generations: float = 30 * DAY_SECONDS
    """Since they were deleted."""


@dataclass(slots=True)
class Tally:
    num: int = 0
    num_bytes: int = 0


@dataclass(slots=True)
class Report:
    """What was removed, or would be."""

    objects: dict[str, Tally] = field(default_factory=dict)
    """By kind: the first word of their keys."""
    num_seen: int = 0
    """Objects in the store."""
    num_strange: int = 0
    """Of those, objects whose keys are none of ours: they are left alone."""
    num_stuck: int = 0
    """Objects that the store did not delete."""
    workflows: int = 0
    events: int = 0
    generations: int = 0
    creates: int = 0

    def lines(self, *, dry_run: bool) -> list[str]:
        """For people to read."""
        removed = "would be removed" if dry_run else "removed"
        lines = [
            f"{kind}: {tally.num:,} objects, {_size(tally.num_bytes)}" for kind, tally in sorted(self.objects.items())
        ]
        rows = {"workflows": self.workflows, "events": self.events, "generations": self.generations}
        lines += [f"{name}: {num:,} rows" for name, num in (rows | {"creates": self.creates}).items() if num]
        lines = [f"{line} {removed}" for line in lines] or [f"nothing {removed}"]
        if self.num_stuck:
            lines.append(f"{self.num_stuck:,} objects could not be deleted: the log says why; run it again")
        if self.num_strange:
            lines.append(f"{self.num_strange:,} objects are none of ours, and were left alone")
        return lines

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def is_empty(self) -> bool:
        return not (self.objects or self.workflows or self.events or self.generations or self.creates)


class Collector:
    """One round of it."""

    def __init__(
        self,
        records: Records,
        needs: Needs,
        store: Store,
        workflows: Finished,
        ages: Ages | None = None,
        *,
        dry_run: bool = False,
        tell: Callable[[Listed], None] = lambda one: None,
        look: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """`tell` hears of each object that goes, `look` of how far this is. `dry_run`: nothing is changed."""
        self._records = records
        self._needs = needs
        self._store = store
        self._workflows = workflows
        self._ages = ages or Ages()
        self._dry_run = dry_run
        self._tell = tell
        self._look = look
        self._report = Report()

    def run(self, now: float | None = None) -> Report:
        """Raises ConflictError where another one runs, StoreError where the store can't be listed."""
        now = time.time() if now is None else now
        with nullcontext() if self._dry_run else self._needs.alone():
            self._sweep_objects(now - self._ages.objects)
            self._sweep_workflows(now - self._ages.workflows)
            self._sweep_rows(now)
        return self._report

    def _sweep_objects(self, before: float) -> None:
        old = self._old(before)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="longtake-gc") as pool:
            while page := list(islice(old, PAGE)):
                needed = self._needs.of([one.key for one in page])
                gone = [one for one in page if one.key not in needed]
                for one, is_gone in zip(gone, self._deleted(gone, pool), strict=True):
                    self._count(one, is_gone)
                self._look(self._report)

    def _old(self, before: float) -> Iterator[Listed]:
        pieces = self._store.listed("partial") if self._store.is_shared else ()  # else the fronts' own, on their disks
        for one in chain(self._store.listed(), pieces):
            if one.key == MARK:
                continue
            self._report.num_seen += 1
            if not ids_in(one.key):
                self._report.num_strange += 1
            elif one.modified_at < before:
                yield one

    def _deleted(self, page: Sequence[Listed], pool: ThreadPoolExecutor) -> Iterable[bool]:
        """Whether each is gone: all with one request; where that fails one by one, to tell those that are stuck."""
        try:
            if not self._dry_run:
                self._store.delete_many(one.key for one in page)
        except StoreError:
            return pool.map(self._delete, page)
        return [True] * len(page)

    def _delete(self, one: Listed) -> bool:
        try:
            self._store.delete(one.key)
        except StoreError:
            log.warning("the object %s is left over", one.key, exc_info=True)
            return False
        return True

    def _count(self, one: Listed, is_gone: bool) -> None:
        if not is_gone:
            self._report.num_stuck += 1
            return
        tally = self._report.objects.setdefault(one.key.partition("/")[0], Tally())
        tally.num += 1
        tally.num_bytes += one.num_bytes
        self._tell(one)

    def _sweep_workflows(self, before: float) -> None:
        """Those of generations that have not ended stay: the sweep asks after the last one."""
        for over in (self._workflows.finished, self._workflows.outdated):
            num_kept = 0
            while found := over(before, limit=PAGE, offset=num_kept):
                ended = self._of_ended(found)
                if not self._dry_run and ended:
                    self._workflows.forget(ended)
                num_kept += len(found) if self._dry_run else len(found) - len(ended)
                self._report.workflows += len(ended)
                self._look(self._report)

    def _of_ended(self, found: Sequence[tuple[str, str | None]]) -> list[str]:
        unended = self._needs.unended({id for _, id in found if id})
        return [workflow_id for workflow_id, id in found if id not in unended]

    def _sweep_rows(self, now: float) -> None:
        needs, report, ages = self._needs, self._report, self._ages
        if self._dry_run:
            report.events = needs.old_events(now - ages.events)
            report.generations = needs.old_generations(now - ages.generations)
            report.creates = needs.old_creates(now)
            return
        report.events = self._records.forget_events(now - ages.events)
        report.generations = needs.forget_generations(now - ages.generations)
        report.creates = needs.forget_creates(now)


def mark(kept: Kept, store: Store) -> None:
    """Writes into a store that has none which database it belongs to. Raises CallerError where that is another one.

    A store that is away is left as it is: gc refuses what has no mark.
    """
    id = kept(lambda: secrets.token_bytes(16)).hex().encode()
    try:
        store.check()
        if store.size(MARK) is None:
            store.put(MARK, id)
        found = store.read(MARK)
    except StoreError as error:
        log.warning("which database the store belongs to is not known yet: %s", error)
        return
    if found != id:
        raise _refused("belongs to another database")


def check_mark(kept: Kept, store: Store) -> None:
    """Raises CallerError unless the store is marked as this database's. Changes nothing."""
    try:
        id = kept(_unopened).hex().encode()
    except Exception as error:
        if lacks_tables(error):
            _unopened()
        raise
    try:
        found = store.read(MARK)
    except UnknownError:
        raise _refused("has no mark that says which database it belongs to: start longtake serve first") from None
    if found != id:
        raise _refused("belongs to another database")


def _unopened() -> bytes:
    raise _refused("is not known to this database, which no longtake serve or worker has opened") from None


def _refused(what: str) -> CallerError:
    names = "LONGTAKE_DATABASE_URL and LONGTAKE_STORE_URL"
    return CallerError(f"this store {what}; check {names} (docs/operations.md, Clearing up)", field=names)


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"


__all__ = ["MARK", "Ages", "Collector", "Finished", "Report", "Tally", "check_mark", "mark"]

"""How many workflows this process runs at a time, and whose it takes next.

DBOS keeps the bound of a queue in the database, the same for every process, and has none over several queues; of the
accounts that wait it draws one at random. Both are decided here instead: the two calls by which DBOS's queue threads
take work are led through `Slots`, one at a time. Nothing is taken for which there is no slot, nor while others may
think that this process is dead, so what waits, waits where any other worker can take it.
"""

from __future__ import annotations

import copy
import heapq
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dbos import DBOS

MOST_REMEMBERED = 10_000
"""Accounts of which it is known when they last had their turn."""
REMEMBERED_SECONDS = 60.0
FULL = "concurrency"
"""DBOS's word for it: no other account of the queue is asked."""
EMPTY_SECONDS = 3.0
"""An account is passed over for so long that waits by DBOS's list and of whom nothing could be taken `EMPTY_TIMES` in a
row: all that it has is of another version. Once may be chance: another worker was faster."""
EMPTY_TIMES = 2
SPARE = 16
"""So many accounts more than there are slots are asked at a look, where those ahead of them have nothing for us."""


class Token(NamedTuple):
    """One run of a workflow: DBOS gives each dequeue an owner of its own, and all that it takes in it the same."""

    workflow_id: str
    owner: str


@dataclass(slots=True)
class Taken:
    queue: str
    account: str
    has_begun: bool = False
    is_parked: bool = False
    taken_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Empty:
    num_times: int = 0
    until: float = 0.0


class InOrder(list[str]):
    """Stays in its order: DBOS shuffles the accounts before it asks them."""

    def __setitem__(self, *_: Any) -> None: ...


class Slots:
    """What this process has taken, may take, and lets go of."""

    def __init__(
        self,
        concurrency: int,
        bounded: Collection[str],
        may_take: Callable[[], bool] = lambda: True,
        still_waits: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """At most `concurrency` at a time in all queues that are `bounded`; others are bounded by DBOS.

        `may_take`: whether this process may take work just now. `still_waits`: whether this workflow is in its queue.
        """
        self._concurrency = concurrency
        self._bounded = frozenset(bounded)
        self._may_take, self._still_waits = may_take, still_waits
        self._turn = threading.Lock()  # held while DBOS takes work
        self._change = threading.Condition()
        self._taken: dict[Token, Taken] = {}
        self._last_turns: dict[tuple[str, str], float] = {}
        self._empty: dict[str, dict[str, Empty]] = {}  # by queue and account
        self._share: dict[str, int] = {}  # of the free slots, how many each account may take at this look
        self._is_draining = False
        self._alone: Token | None = None
        self._wanted: tuple[str, Taken] | None = None  # the workflow that waits to be alone, and where it waits
        self.lead_dbos = False
        """Whether DBOS takes its work through them."""

    # ---- around DBOS

    def fair(self, partitions_of: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
        """`SystemDatabase.get_queue_partitions`: of the accounts that wait, a few more than there are slots.

        First those of which the fewest run here, then those whose last turn is the longest ago.
        """

        def waiting(queue: str) -> list[str]:
            self._look_after_wanted(queue)
            free = self._free(queue)
            if free == 0:
                return []
            accounts = partitions_of(queue)
            if free is None:
                return accounts
            accounts = self._not_empty(queue, accounts)
            with self._change:
                if self._wanted is not None:
                    accounts = [self._wanted[1].account]
                running = [taken.account for taken in self._taken.values() if taken.queue == queue]
                turns = {account: self._last_turns.get((queue, account), 0.0) for account in accounts}
            self._share[queue] = free // max(1, min(free, len(accounts)))
            count = free + SPARE
            return InOrder(heapq.nsmallest(count, accounts, key=lambda one: (running.count(one), turns[one])))

        return waiting

    def bound(self, start: Callable[..., tuple[list[str], Any]]) -> Callable[..., tuple[list[str], Any]]:
        """`SystemDatabase.start_queued_workflows`: takes what there are slots for, and remembers it."""

        def start_queued_workflows(
            queue: Any,
            executor_id: str,
            app_version: str,
            partition: str | None,
            local_running_count: int = 0,
            *rest: Any,
            owner_xid: str,
            **options: Any,
        ) -> tuple[list[str], Any]:
            with self._turn:
                free = self._free(queue.name)
                if free == 0:
                    return [], FULL
                if free is not None:
                    queue = copy.copy(queue)
                    queue._worker_concurrency = local_running_count + min(free, self._share.get(queue.name, 1))
                ids, reason = start(
                    queue,
                    executor_id,
                    app_version,
                    partition,
                    local_running_count,
                    *rest,
                    owner_xid=owner_xid,
                    **options,
                )
                if ids or reason != FULL:
                    self._note(queue.name, partition or "", [Token(id, owner_xid) for id in ids])
                return ids, reason

        return start_queued_workflows

    def _note(self, queue: str, account: str, tokens: list[Token]) -> None:
        with self._change:
            if queue in self._bounded:
                self._wanted = None
            self._taken.update((token, Taken(queue, account)) for token in tokens)
            if len(self._last_turns) >= MOST_REMEMBERED:
                self._last_turns.clear()
            now = self._last_turns[queue, account] = time.monotonic()
            of_queue = self._empty.setdefault(queue, {})
            if tokens:
                of_queue.pop(account, None)
            elif queue in self._bounded:
                empty = of_queue.setdefault(account, Empty())
                empty.num_times += 1
                empty.until = now + EMPTY_SECONDS if empty.num_times >= EMPTY_TIMES else 0.0

    def _not_empty(self, queue: str, waiting: list[str]) -> list[str]:
        """Of those who wait, the ones who are asked; of others nothing is remembered."""
        with self._change:
            known, now = self._empty.get(queue, {}), time.monotonic()
            self._empty[queue] = {account: known[account] for account in waiting if account in known}
            return [account for account in waiting if account not in known or known[account].until <= now]

    def _look_after_wanted(self, queue: str) -> None:
        """Nothing is held up for what another worker has."""
        wanted = self._wanted
        if wanted is not None and wanted[1].queue == queue and not self._still_waits(wanted[0]):
            with self._change:
                if self._wanted == wanted:
                    self._wanted = None

    def _free(self, queue: str) -> int | None:
        """How many more may be taken from it; None: as many as DBOS allows."""
        with self._change:
            if self._is_draining or not self._may_take():
                return 0
            if queue not in self._bounded:
                return None
            used = sum(taken.queue in self._bounded for taken in self._taken.values())
            if self._alone in self._taken:
                return 0
            if self._wanted is not None:
                return 1 if queue == self._wanted[1].queue and not used else 0
            return max(0, self._concurrency - used)

    # ---- around each run

    def begin(self, token: Token, queue: str) -> None:
        with self._change:
            self._taken.setdefault(token, Taken(queue, "")).has_begun = True

    def end(self, token: Token) -> None:
        with self._change:
            self._taken.pop(token, None)
            self._change.notify_all()

    def alone(self, token: Token) -> bool:
        """Whether nothing else has a slot; then it stays so until it is `together` with others again, or ends.

        What is not bounded has no slot: webhooks go on.
        """
        with self._turn, self._change:  # nothing is being taken
            others = [one for one, taken in self._taken.items() if one != token and taken.queue in self._bounded]
            if not others:
                self._alone = token
            return not others

    def want(self, token: Token) -> None:
        """It was given back, as it was not alone: until this or another worker has it, no slot is filled here, and what
        is taken first, when all are free, is of its account."""
        with self._change:
            if token in self._taken:
                self._wanted = token.workflow_id, self._taken[token]

    def together(self, token: Token) -> None:
        with self._change:
            if self._alone == token:
                self._alone = None

    def park(self, token: Token) -> None:
        """Between two steps: goes on, but never again once the process drains."""
        with self._change:
            if not self._is_draining:
                return
            if token in self._taken:
                self._taken[token].is_parked = True
            self._change.notify_all()
            while True:  # until the process ends
                self._change.wait()

    def forget_unbegun(self, seconds: float) -> None:
        """Lets go of what was taken so long ago and has not begun: its start has failed."""
        with self._change:
            old = time.monotonic() - seconds
            for token in [one for one, taken in self._taken.items() if not taken.has_begun and taken.taken_at < old]:
                del self._taken[token]

    def has(self, token: Token) -> bool:
        with self._change:
            return token in self._taken

    @property
    def is_draining(self) -> bool:
        with self._change:
            return self._is_draining

    @property
    def num_used(self) -> int:
        """How many of the slots are in use."""
        with self._change:
            return sum(taken.queue in self._bounded for taken in self._taken.values())

    def drain(self, seconds: float) -> bool:
        """Takes nothing more, and waits until each run has ended or stands between two steps; False: not in time."""
        deadline = time.monotonic() + seconds
        with self._change:
            self._is_draining = True
        took = self._turn.acquire(timeout=max(0.0, seconds))  # what is being taken just now is handed back too
        if took:
            self._turn.release()
        with self._change:
            return self._change.wait_for(
                lambda: all(taken.is_parked or not taken.has_begun for taken in self._taken.values()),
                timeout=max(0.0, deadline - time.monotonic()),
            )


def remembered(get_queue: Callable[..., Any]) -> Callable[..., Any]:
    """`SystemDatabase.get_queue`, asked once in a while instead of ahead of each look: ours never change."""
    known: dict[str, tuple[float, Any]] = {}

    def get(name: str, **options: Any) -> Any:
        until, queue = known.get(name, (0.0, None))
        if queue is None or time.monotonic() >= until:
            queue = get_queue(name, **options)
            known[name] = time.monotonic() + REMEMBERED_SECONDS, queue
        return queue

    return get


class BoundedDBOS(DBOS):
    """DBOS whose queue threads take work through `slots`, from their first look on."""

    slots: Slots

    @property
    def _sys_db_field(self) -> Any:
        return self.__dict__.get("_system_database")

    @_sys_db_field.setter
    def _sys_db_field(self, database: Any) -> None:
        if database is not None:
            self.slots.lead_dbos = True
            database.get_queue = remembered(database.get_queue)
            database.get_queue_partitions = self.slots.fair(database.get_queue_partitions)
            database.start_queued_workflows = self.slots.bound(database.start_queued_workflows)
        self.__dict__["_system_database"] = database

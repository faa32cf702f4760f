"""Runs workflows in this process: each step's result is kept, and no step runs again once it is done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol, TypeVar

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSConfig
from dbos._context import current_owner_xid
from dbos._error import DBOSWorkflowConflictIDError

from longtake import metrics
from longtake.errors import DatabaseError, FaultError, StoreError
from longtake.workflows import names
from longtake.workflows.client import Workflows, quieten
from longtake.workflows.liveness import Locks, Watch, worker_id
from longtake.workflows.names import NAME, WEBHOOK_QUEUE, WEBHOOK_WORKFLOW, WORKFLOW
from longtake.workflows.patience import be_patient, is_away
from longtake.workflows.recovery import hand_back, is_queued, recover, running, starts
from longtake.workflows.slots import BoundedDBOS, Slots, Token

T = TypeVar("T")
log = structlog.get_logger("longtake.workflows")
MOST_DEATHS = 3
"""So many workers may die in one and the same step of a generation before it is given up."""
MOST_DEATHS_OF_WEBHOOK = 10
"""A webhook hardly kills a worker, and dies with many that something else has killed."""
MOST_STARTS = 50
"""After so many a store that is away fails the generation; until then its run begins again, and waits for it so."""
UNBEGUN_SECONDS = 15.0
"""What runs for us by the database, and does not in this process, was taken by a call whose answer was lost."""


class Step(Protocol):
    """Runs `function` once in the life of a workflow; after a restart its kept result is returned instead."""

    def __call__(self, name: str, function: Callable[[], T]) -> T: ...


Run = Callable[[str, int, int, Step], None]
"""Carries out this attempt at the generation with this id. The third argument is its start: which run of this attempt
it is, counted from 1. No two runs ever have the same, even where the older one does not know yet that it is over."""
Deliver = Callable[[int, int], None]
"""Tries once to tell a client's address of something: the webhook's number and turn."""


class Book(Protocol):
    """Where it is written down which workers there are, for people to read."""

    def add(self, id: str) -> None: ...
    def remove(self, id: str) -> None: ...
    def ids(self) -> Iterable[str]: ...


class Interrupted(BaseException):
    """This run ends here and is not over: another begins where its last finished step was."""


class NotAlone(Interrupted):
    """Two workers have died in this step, or in what ran beside it: its last try disturbs no others, nor they it."""


class Executor:
    """Runs generations in this process. One for a process: DBOS allows no more."""

    def __init__(
        self,
        url: str,
        database: sa.Engine,
        run: Run,
        deliver: Deliver,
        *,
        locks: Locks,
        engines: Collection[str],
        concurrency: int = 1,
        grace_seconds: float = 15.0,
        poll_seconds: float = 0.1,
        book: Book | None = None,
    ) -> None:
        """`concurrency`: how many generations run here at a time, of all `engines` together.

        `poll_seconds`: between two looks into a queue. DBOS has no way to be woken.
        """
        quieten()
        be_patient()
        self.id = worker_id()
        self._database = database
        self._queues = [names.queue_of(engine) for engine in engines]
        self.engines = tuple(engines)
        self._book, self._poll_seconds = book, poll_seconds
        self._unbegun: dict[Token, int] = {}
        self._let_go: set[Token] = set()
        self._workflows = Workflows(url)
        self._watch = Watch(self.id, locks, self._busy, self._bury, grace_seconds=grace_seconds)
        # While its lock is away, others think it dead: what it took they would take from it, and count a death.
        may_take, still_waits = lambda: self._watch.unready() is None, partial(is_queued, database)
        self.slots = Slots(concurrency, self._queues, may_take, still_waits)
        config: DBOSConfig = {
            "name": NAME,
            "system_database_url": names.database_address(url),
            "application_version": names.VERSION,
            "executor_id": self.id,
            "run_migrations": False,
            "notification_listener_polling_interval_sec": poll_seconds,
            "log_level": "WARNING",
        }
        BoundedDBOS(config=config).slots = self.slots

        # DBOS counts what was handed back as well, for the whole workflow: MOST_DEATHS, counted by step, is the bound.
        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        def generation(generation_id: str, attempt: int) -> None:
            with _Owned(self, WORKFLOW) as owned:
                run(generation_id, attempt, owned.start, owned.step)

        @DBOS.workflow(name=WEBHOOK_WORKFLOW, max_recovery_attempts=None)
        def webhook(number: int, turn: int) -> None:
            with _Owned(self, WEBHOOK_QUEUE) as owned:
                owned.step("deliver", lambda: deliver(number, turn))

    def start(self) -> None:
        """Takes up what dead ones have left, and what is queued, from now on."""
        self._workflows.open_queues(self.engines, self._poll_seconds)
        self._watch.hold()
        if self._book:
            self._book.add(self.id)
        DBOS.listen_queues([*self._queues, WEBHOOK_QUEUE])
        DBOS.launch()
        if not self.slots.lead_dbos:
            raise FaultError("this release of DBOS can't be led: it would take more than there are slots")
        self._watch.start()

    def unready(self) -> str | None:
        """Why it takes up no work just now; None: it does."""
        return "it drains" if self.slots.is_draining else self._watch.unready()

    def drain(self, seconds: float) -> None:
        """Takes nothing more, lets steps that run end for so long, and gives the rest back to the queue.

        After this no workflow of this process goes on: the process must end.
        """
        in_time = self.slots.drain(seconds)
        try:
            num_left = hand_back(self._database, self.id)
            if self._book:
                self._book.remove(self.id)
            self._watch.release()
        except DatabaseError as error:  # then others notice that we have died
            log.warning("could not hand back what is not finished", worker=self.id, problem=str(error))
        else:
            log.info("drained", worker=self.id, handed_back=num_left, in_time=in_time)

    def stop(self) -> None:
        """For tests: leaves what is not finished, as a death does."""
        DBOS.destroy(destroy_registry=True)
        self._watch.stop()
        self._workflows.close()

    def _busy(self) -> set[str]:
        """Those for whom something runs; and what was lost on its way to us is given back."""
        let_go = set(self._let_go)
        rows = running(self._database)
        mine = {row.token for row in rows if row.executor == self.id and not self.slots.has(row.token)}
        most = int(UNBEGUN_SECONDS / self._watch.look_seconds)
        self._unbegun = {token: self._unbegun.get(token, 0) + 1 for token in mine}
        lost = [token for token, num in self._unbegun.items() if num >= most or token in let_go]
        if lost:
            log.warning("work was begun and can't be gone on with here: it is in the queue again", num=len(lost))
            hand_back(self._database, self.id, lost)
        self._let_go.difference_update(let_go - mine)
        self.slots.forget_unbegun(10 * UNBEGUN_SECONDS)
        return {row.executor for row in rows} | self._listed()

    def _listed(self) -> set[str]:
        """Those in the book. Whom others took for dead, for his lock was lost on the way, writes himself in again."""
        if self._book is None:
            return set()
        ids = set(self._book.ids())
        if self.id not in ids and not self.slots.is_draining:
            self._book.add(self.id)
        return ids

    def let_go(self, token: Token) -> None:
        """Ends this run, and gives its workflow back as soon as the database is there."""
        self.slots.end(token)
        self._let_go.add(token)

    def hand_over(self, token: Token) -> None:
        """Gives this run's workflow back at once: whatever becomes of this process, it has not died with it."""
        try:
            hand_back(self._database, self.id, [token])
        except DatabaseError:
            self.let_go(token)
        else:
            self.slots.want(token)
            self.slots.end(token)

    def _bury(self, dead: Collection[str]) -> None:
        num_runs = sum(run.executor in dead for run in running(self._database))
        recover(self._database, dead)
        metrics.took_over(len(dead), num_runs)
        for id in dead:
            if self._book:
                self._book.remove(id)


class _Owned:
    """One run of a workflow, which this process owns: takes a slot, counts deaths, gives way when it must."""

    def __init__(self, executor: Executor, queue: str) -> None:
        self._executor = executor
        workflow_id = str(DBOS.workflow_id)
        self._token = Token(workflow_id, current_owner_xid(workflow_id) or "")
        self._queue = queue
        self._has_slot = queue != WEBHOOK_QUEUE
        self.start = 0
        self._lives = self._last = 1

    def __enter__(self) -> _Owned:
        self._executor.slots.begin(self._token, self._queue)
        try:
            found = starts(self._executor._database, *self._token)
        except BaseException as error:
            self._leave(error)
            raise
        if found is None:
            self._executor.slots.end(self._token)
            raise DBOSWorkflowConflictIDError(self._token.workflow_id)
        self.start = found[0]
        self._lives = found[0] - found[1]
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._leave(error)

    def step(self, name: str, function: Callable[[], T]) -> T:
        """With each result it is kept how many workers had begun this workflow and died by then.

        So a step knows how many have died since the one before it was done. DBOS counts them for the whole workflow,
        and would give up a long one that was merely interrupted often.
        """
        slots = self._executor.slots
        slots.park(self._token)

        def first() -> tuple[int, T]:
            num_deaths, most = self._lives - self._last, MOST_DEATHS if self._has_slot else MOST_DEATHS_OF_WEBHOOK
            if num_deaths >= most:
                raise FaultError(f"{most} workers died while they tried to {name}")
            if self._has_slot and num_deaths == most - 1 and not slots.alone(self._token):
                raise NotAlone
            try:
                return self._lives, function()
            except DatabaseError as error:
                raise Interrupted from error
            except StoreError as error:
                if error.retryable and self.start < MOST_STARTS:
                    raise Interrupted from error
                raise

        try:
            self._last, value = DBOS.run_step({"name": name}, first)
        except sa.exc.SQLAlchemyError as error:
            if is_away(error):
                raise Interrupted from error
            raise
        finally:
            slots.together(self._token)
        return value

    def _leave(self, error: BaseException | None) -> None:
        """What the database's or the store's being away has ended begins again, by anybody, once it is back."""
        executor, token = self._executor, self._token
        if isinstance(error, NotAlone):
            log.warning("its last try waits until nothing else runs beside it", workflow=token.workflow_id)
            executor.hand_over(token)
            raise Interrupted from error
        if error is not None and (isinstance(error, Interrupted) or is_away(error)):
            why = "the store" if isinstance(error.__cause__, StoreError) else "the database"
            log.warning(f"interrupted: {why} was away", workflow=token.workflow_id)
            executor.let_go(token)
            raise Interrupted from error
        executor.slots.end(token)

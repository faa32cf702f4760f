"""What no workflow will ever bring to its end, found and ended or begun anew: every worker looks, from time to time."""

from __future__ import annotations

import random
import sys
import threading
import time

import structlog

from longtake.errors import DatabaseError, StoreError
from longtake.footage import Run
from longtake.records import Records
from longtake.store import Store
from longtake.workflows import Workflows

log = structlog.get_logger("longtake.lost")
SWEEP_SECONDS = 30.0
GIVEN_UP = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
"""Ends of a webhook's workflow that another would only come to again: it has killed its workers."""
LAST_START = sys.maxsize


def sweep(records: Records, workflows: Workflows, store: Store) -> None:
    """Ends or begins anew what no workflow will ever end, and removes what dead processes of this machine left behind.

    Many may do so at once: each change names the attempt that it ends, and the first one counts.
    """
    try:
        store.sweep_work()
    except OSError:  # what was lost is looked for all the same
        log.exception("could not sweep the work folder")
    for id, attempt, why in workflows.lost(records.unfinished()):
        if why == "OUTDATED":
            done = records.begin_anew(id, attempt)
            try:
                workflows.withdraw(id, attempt)
            except Exception:  # it waits for nobody, and holds up others a little
                log.exception("could not withdraw", generation=id)
        else:
            reason = f"a fault of ours: its workflow was lost ({why.lower()})"
            done = records.fail(id, reason, "fault", attempt=attempt)
            if done:
                _forget(Run(id, attempt, LAST_START), store)
        if done:
            log.error("lost", generation=id, attempt=attempt, workflow=why)
    records.webhooks.forget_old()
    for number, turn, why in workflows.lost_webhooks(records.webhooks.on_their_way()):
        if why in GIVEN_UP:
            records.webhooks.give_up(number, turn, f"a fault of ours: its workflow was lost ({why.lower()})")
        else:
            records.webhooks.begin_anew(number, turn)
        log.warning("lost", webhook=number, turn=turn, workflow=why)


def _forget(run: Run, store: Store) -> None:
    try:
        run.forget(store)
    except StoreError:  # gc finds it
        log.warning("what it rendered is left over", generation=run.id, exc_info=True)


def sweep_often(records: Records, workflows: Workflows, store: Store) -> None:
    """Sweeps in a thread of its own: now, and from time to time.

    The more workers there are, the less often each: together they look at all that is unfinished about every
    `SWEEP_SECONDS`, at moments that chance spreads.
    """

    def go_on() -> None:
        while True:
            pause = SWEEP_SECONDS
            try:
                sweep(records, workflows, store)
                pause *= max(1, len(records.workers.all()))
            except DatabaseError as error:
                log.warning("could not sweep", problem=str(error))
            except Exception:
                log.exception("could not sweep")
            time.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311

    threading.Thread(target=go_on, name="longtake-sweep", daemon=True).start()

"""The durable run of one generation, on DBOS: each step's result is kept, and no step runs again once it is done.

The front only enqueues (`Workflows`); worker processes execute (`Executor`), any number of them on one database. Which
of them have died is known by locks (`liveness`), and what those had begun is given back (`recovery`). Nothing else of
this program speaks to DBOS.
"""

from __future__ import annotations

from longtake.workflows.client import Turn, Workflows, migrate_workflows
from longtake.workflows.executor import MOST_DEATHS, Deliver, Executor, Interrupted, Run, Step
from longtake.workflows.liveness import Locks, locks_of
from longtake.workflows.names import database_address

__all__ = [
    "MOST_DEATHS",
    "Deliver",
    "Executor",
    "Interrupted",
    "Locks",
    "Run",
    "Step",
    "Turn",
    "Workflows",
    "database_address",
    "locks_of",
    "migrate_workflows",
]

"""Generations, uploads, keys and events: SQLAlchemy Core on SQLite or Postgres."""

from longtake.records.changes import Change, Changes
from longtake.records.database import migrate, open_database
from longtake.records.generation import FailureKind, Generation, Result, State, Turn
from longtake.records.generations import Records
from longtake.records.kept import kept_secret
from longtake.records.keys import Key, Keys
from longtake.records.limits import NO_LIMITS, Limits, Usage
from longtake.records.moving import Enqueue
from longtake.records.rates import count_request, seconds_ahead
from longtake.records.repeats import Create
from longtake.records.seen import Running
from longtake.records.uploads import PartialUpload, Upload
from longtake.records.webhooks import EnqueueWebhook, Webhook, WebhookRecords, WebhookState
from longtake.records.workers import WorkerRecords, WorkerRow

__all__ = [
    "NO_LIMITS",
    "Change",
    "Changes",
    "Create",
    "Enqueue",
    "EnqueueWebhook",
    "FailureKind",
    "Generation",
    "Key",
    "Keys",
    "Limits",
    "PartialUpload",
    "Records",
    "Result",
    "Running",
    "State",
    "Turn",
    "Upload",
    "Usage",
    "Webhook",
    "WebhookRecords",
    "WebhookState",
    "WorkerRecords",
    "WorkerRow",
    "count_request",
    "kept_secret",
    "migrate",
    "open_database",
    "seconds_ahead",
]

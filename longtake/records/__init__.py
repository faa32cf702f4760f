"""Generations, uploads, keys and events: SQLAlchemy Core on SQLite (or, later, Postgres)."""

from longtake.records.changes import Change, Changes
from longtake.records.database import migrate, open_database
from longtake.records.generation import FailureKind, Generation, Result, State
from longtake.records.generations import Records
from longtake.records.keys import Key, Keys
from longtake.records.limits import NO_LIMITS, Limits, Usage
from longtake.records.repeats import Create
from longtake.records.uploads import PartialUpload, Upload
from longtake.records.webhooks import Webhook, WebhookRecords, WebhookState

__all__ = [
    "NO_LIMITS",
    "Change",
    "Changes",
    "Create",
    "FailureKind",
    "Generation",
    "Key",
    "Keys",
    "Limits",
    "PartialUpload",
    "Records",
    "Result",
    "State",
    "Upload",
    "Usage",
    "Webhook",
    "WebhookRecords",
    "WebhookState",
    "migrate",
    "open_database",
]

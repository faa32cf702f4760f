"""The tables. A change here goes with a migration (`migrations/versions`); a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("hash", sa.String, nullable=False, unique=True),
    sa.Column("credits", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("revoked_at", sa.Float),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("generations_at_once", sa.Integer),
    sa.Column("seconds_per_day", sa.Float),
)

generations = sa.Table(
    "generations",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("wire", sa.String, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("order", sa.JSON, nullable=False),
    sa.Column("engine", sa.String, nullable=False),
    sa.Column("credits", sa.Float, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("stage", sa.String, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failure_reason", sa.String),
    sa.Column("failure_kind", sa.String),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("deleted_at", sa.Float),
    sa.Column("extent", sa.JSON),
    sa.Column("result", sa.JSON),
    sa.Column("base_url", sa.String, nullable=False, server_default=""),
    sa.Column("ordered_at", sa.Float, nullable=False, server_default="0"),
    sa.Index("generations_by_account", "account", "created_at"),
    sa.Index("generations_by_key", "key_id", "state", "ordered_at", "credits"),
    sa.Index("generations_by_state", "state"),
)

parents = sa.Table(
    "parents",
    metadata,
    sa.Column("child_id", sa.String, sa.ForeignKey("generations.id"), primary_key=True),
    sa.Column("end", sa.String, primary_key=True),
    sa.Column("parent_id", sa.String, sa.ForeignKey("generations.id"), nullable=False),
    sa.Index("parents_by_parent", "parent_id"),
)

creates = sa.Table(
    "creates",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("generation_id", sa.String, nullable=False),
    sa.Column("is_retry", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("creates_by_time", "created_at"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("fps", sa.Float),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("extent", sa.JSON),
)

partial_uploads = sa.Table(
    "partial_uploads",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("metadata", sa.String, nullable=False),
    sa.Column("sha256", sa.String),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("failure", sa.String),
    sa.Index("partial_uploads_by_account", "account"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("generation_id", sa.String, nullable=False),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("events_by_generation", "generation_id", "id"),
    sqlite_autoincrement=True,
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("generation_id", sa.String, nullable=False),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("event", sa.String, nullable=False),
    sa.Column("url", sa.String, nullable=False),
    sa.Column("failure_reason", sa.String),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("problem", sa.String),
    sa.Index("webhooks_by_generation", "generation_id", "state", "number"),
    sa.Index("webhooks_by_state", "state", "number"),
    sqlite_autoincrement=True,
)

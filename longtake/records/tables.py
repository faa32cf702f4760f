"""The tables. A change here goes with a migration (`migrations/versions`); a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
Count = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""Counts rows up: 64 bits, which SQLite's INTEGER has anyway."""


class Text(sa.TypeDecorator[str]):
    """Text on both databases: Postgres keeps no NUL, which becomes U+FFFD, the replacement character."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return value.replace("\0", "\ufffd") if value else value


keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("account", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("hash", Text, nullable=False, unique=True),
    sa.Column("credits", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("revoked_at", sa.Float),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("generations_at_once", sa.Integer),
    sa.Column("seconds_per_day", sa.Float),
)

IS_DELETED = sa.text("deleted_at IS NOT NULL")

generations = sa.Table(
    "generations",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("account", Text, nullable=False),
    sa.Column("key_id", Text, nullable=False),
    sa.Column("wire", Text, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("order", sa.JSON, nullable=False),
    sa.Column("engine", Text, nullable=False),
    sa.Column("credits", sa.Float, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.Column("stage", Text, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failure_reason", Text),
    sa.Column("failure_kind", Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("deleted_at", sa.Float),
    sa.Column("extent", sa.JSON),
    sa.Column("result", sa.JSON),
    sa.Column("base_url", Text, nullable=False, server_default=""),
    sa.Column("ordered_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("trace", Text),
    sa.Index("generations_by_account", "account", "created_at"),
    sa.Index("generations_by_key", "key_id", "state", "ordered_at", "credits"),
    sa.Index("generations_by_state", "state"),
    sa.Index("generations_by_end", "ended_at"),
    sa.Index("generations_by_deletion", "deleted_at", sqlite_where=IS_DELETED, postgresql_where=IS_DELETED),
)

parents = sa.Table(
    "parents",
    metadata,
    sa.Column("child_id", Text, sa.ForeignKey("generations.id"), primary_key=True),
    sa.Column("end", Text, primary_key=True),
    sa.Column("parent_id", Text, sa.ForeignKey("generations.id"), nullable=False),
    sa.Index("parents_by_parent", "parent_id"),
)

creates = sa.Table(
    "creates",
    metadata,
    sa.Column("account", Text, primary_key=True),
    sa.Column("name", Text, primary_key=True),
    sa.Column("digest", Text, nullable=False),
    sa.Column("generation_id", Text, nullable=False),
    sa.Column("is_retry", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("creates_by_time", "account", "created_at"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("account", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("fps", sa.Float),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("extent", sa.JSON),
    sa.Column("footage", sa.JSON(none_as_null=True)),
)

partial_uploads = sa.Table(
    "partial_uploads",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("account", Text, nullable=False),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("metadata", Text, nullable=False),
    sa.Column("sha256", Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("failure", Text),
    sa.Index("partial_uploads_by_account", "account"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", Count, primary_key=True, autoincrement=True),
    sa.Column("generation_id", Text, nullable=False),
    sa.Column("account", Text, nullable=False),
    sa.Column("type", Text, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("events_by_generation", "generation_id", "id"),
    sa.Index("events_by_account", "account", "id"),
    sqlite_autoincrement=True,
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("number", Count, primary_key=True, autoincrement=True),
    sa.Column("generation_id", Text, nullable=False),
    sa.Column("account", Text, nullable=False),
    sa.Column("event", Text, nullable=False),
    sa.Column("url", Text, nullable=False),
    sa.Column("failure_reason", Text),
    sa.Column("state", Text, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("problem", Text),
    sa.Index("webhooks_by_generation", "generation_id", "state", "number"),
    sa.Index("webhooks_by_state", "state", "number"),
    sa.Index("webhooks_by_end", "ended_at"),
    sqlite_autoincrement=True,
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("host", Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("engines", sa.JSON, nullable=False),
    sa.Column("concurrency", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
)

rates = sa.Table(
    "rates",
    metadata,
    sa.Column("key_id", Text, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
)

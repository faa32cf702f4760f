"""The first tables."""

import sqlalchemy as sa
from alembic import op

from longtake.records.tables import Count

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False, unique=True),
        sa.Column("credits", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float),
    )
    op.create_table(
        "generations",
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
    )
    op.create_index("generations_by_account", "generations", ["account", "created_at"])
    op.create_index("generations_by_state", "generations", ["state"])
    op.create_table(
        "parents",
        sa.Column("child_id", sa.String, sa.ForeignKey("generations.id"), primary_key=True),
        sa.Column("end", sa.String, primary_key=True),
        sa.Column("parent_id", sa.String, sa.ForeignKey("generations.id"), nullable=False),
    )
    op.create_index("parents_by_parent", "parents", ["parent_id"])
    op.create_table(
        "uploads",
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
    op.create_table(
        "events",
        sa.Column("id", Count, primary_key=True, autoincrement=True),
        sa.Column("generation_id", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_generation", "events", ["generation_id", "id"])


def downgrade() -> None:
    for table in ("events", "uploads", "parents", "generations", "keys"):
        op.drop_table(table)

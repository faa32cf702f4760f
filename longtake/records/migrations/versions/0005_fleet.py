"""What several machines share: secrets, workers, rates of requests, what was made of uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("engines", sa.JSON, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
    )
    op.create_table(
        "rates",
        sa.Column("key_id", sa.String, primary_key=True),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.add_column("uploads", sa.Column("footage", sa.JSON))
    op.add_column("generations", sa.Column("trace", sa.String))
    op.create_index("generations_by_end", "generations", ["ended_at"])
    deleted = sa.text("deleted_at IS NOT NULL")
    op.create_index(
        "generations_by_deletion", "generations", ["deleted_at"], sqlite_where=deleted, postgresql_where=deleted
    )
    op.create_index("events_by_account", "events", ["account", "id"])
    op.create_index("webhooks_by_end", "webhooks", ["ended_at"])
    op.drop_index("creates_by_time", "creates")
    op.create_index("creates_by_time", "creates", ["account", "created_at"])


def downgrade() -> None:
    op.drop_index("creates_by_time", "creates")
    op.create_index("creates_by_time", "creates", ["created_at"])
    op.drop_index("webhooks_by_end", "webhooks")
    op.drop_index("events_by_account", "events")
    op.drop_index("generations_by_deletion", "generations")
    op.drop_index("generations_by_end", "generations")
    op.drop_column("generations", "trace")
    op.drop_column("uploads", "footage")
    for table in ("rates", "workers", "secrets"):
        op.drop_table(table)

"""What is told to clients' own addresses."""

import sqlalchemy as sa
from alembic import op

from longtake.records.tables import Count

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("number", Count, primary_key=True, autoincrement=True),
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
        sqlite_autoincrement=True,
    )
    op.create_index("webhooks_by_generation", "webhooks", ["generation_id", "state", "number"])
    op.create_index("webhooks_by_state", "webhooks", ["state", "number"])


def downgrade() -> None:
    op.drop_table("webhooks")

"""Creates that come twice, limits of keys, and where and when a generation was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

LIMITS = (("requests_per_minute", sa.Integer), ("generations_at_once", sa.Integer), ("seconds_per_day", sa.Float))


def upgrade() -> None:
    op.create_table(
        "creates",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("generation_id", sa.String, nullable=False),
        sa.Column("is_retry", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("creates_by_time", "creates", ["created_at"])
    for name, kind in LIMITS:
        op.add_column("keys", sa.Column(name, kind))
    op.add_column("generations", sa.Column("base_url", sa.String, nullable=False, server_default=""))
    op.add_column("generations", sa.Column("ordered_at", sa.Float, nullable=False, server_default="0"))
    op.execute("UPDATE generations SET ordered_at = created_at")
    op.create_index("generations_by_key", "generations", ["key_id", "state", "ordered_at", "credits"])


def downgrade() -> None:
    op.drop_index("generations_by_key", "generations")
    op.drop_column("generations", "ordered_at")
    op.drop_column("generations", "base_url")
    for name, _ in LIMITS:
        op.drop_column("keys", name)
    op.drop_table("creates")

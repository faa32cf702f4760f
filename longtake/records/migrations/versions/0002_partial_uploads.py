"""Files that come in parts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "partial_uploads",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("num_bytes", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.String, nullable=False),
        sa.Column("sha256", sa.String),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("failure", sa.String),
    )
    op.create_index("partial_uploads_by_account", "partial_uploads", ["account"])


def downgrade() -> None:
    op.drop_table("partial_uploads")

"""The evidence grows: tool calls, datasets as they were, clusters and covariates of comparisons.

Runs before the code that needs it. Code of 0001 cannot write comparisons after it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("answers", sa.Column("tool_calls", sa.JSON(), nullable=True))
    op.add_column("comparisons", sa.Column("pool", sa.JSON(), nullable=True))
    with op.batch_alter_table("comparison_samples") as table:
        table.add_column(sa.Column("cluster", sa.String(length=200), nullable=True))
        table.add_column(sa.Column("usable", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("detail", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "samples",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "path"),
    )


def downgrade() -> None:
    op.drop_table("dataset_versions")
    op.drop_table("samples")
    with op.batch_alter_table("comparison_samples") as table:
        table.drop_column("detail")
        table.drop_column("usable")
        table.drop_column("cluster")
    op.drop_column("comparisons", "pool")
    op.drop_column("answers", "tool_calls")

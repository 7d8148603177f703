"""Tunings: how a model answers fastest on a machine, as it was measured there.

Runs before the code that needs it. Code of 0006 goes on reading what it knows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tunings",
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("backend", sa.String(length=20), nullable=False),
        sa.Column("machine", sa.String(length=200), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("measured_by", sa.String(length=80), nullable=False),
        sa.Column("measured_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("model", "backend", "machine"),
    )


def downgrade() -> None:
    op.drop_table("tunings")

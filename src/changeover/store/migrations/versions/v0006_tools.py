"""Tools: jobs, the files they were given, and what their steps have given so far.

Runs before the code that needs it. Code of 0005 goes on reading what it knows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tool", sa.String(length=40), nullable=False),
        sa.Column("tool_digest", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("team", sa.String(length=80), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("outcome", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tool_jobs_by_state", "tool_jobs", ["state", "created_at"])
    op.create_index("tool_jobs_by_key", "tool_jobs", ["key", "created_at"])
    op.create_index("tool_jobs_by_expiry", "tool_jobs", ["expires_at"])
    op.create_table(
        "tool_job_files",
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["tool_jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "place"),
    )
    op.create_table(
        "tool_job_parts",
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("place", sa.String(length=120), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["tool_jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "place"),
    )


def downgrade() -> None:
    for table in ("tool_job_parts", "tool_job_files", "tool_jobs"):
        op.drop_table(table)

"""The gateway's door: teams, limits and what was spent of them, usage, applied declarations, more of each exchange."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _callers()
    _limits()
    _usage()
    op.create_table(
        "applied",
        sa.Column("revision", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("revision"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("exchanges") as table:
        table.alter_column(
            "task", existing_type=sa.String(length=80), type_=sa.String(length=130), existing_nullable=False
        )
        table.add_column(sa.Column("endpoint", sa.String(length=20), nullable=False, server_default="chat"))
        table.add_column(sa.Column("team", sa.String(length=80), nullable=True))
        table.add_column(sa.Column("usage_estimated", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("cost_microusd", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("content", sa.String(length=10), nullable=False, server_default="full"))
        table.add_column(sa.Column("trace", sa.String(length=32), nullable=True))
    # Rows of before: what they hold says what was kept.
    op.execute("UPDATE exchanges SET content = 'none' WHERE request IS NULL")


def _callers() -> None:
    op.create_table(
        "teams",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("keys") as table:
        table.add_column(sa.Column("team", sa.String(length=80), nullable=True))
        table.add_column(sa.Column("tasks", sa.JSON(), nullable=True))
        table.add_column(sa.Column("deployments", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("limits", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("expires_at", sa.DateTime(), nullable=True))
        table.create_foreign_key("keys_of_teams", "teams", ["team"], ["name"])


def _limits() -> None:
    op.create_table(
        "spending",
        sa.Column("holder", sa.String(length=60), nullable=False),
        sa.Column("unit", sa.String(length=12), nullable=False),
        sa.Column("per", sa.String(length=10), nullable=False),
        sa.Column("period", sa.DateTime(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("leased", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("holder", "unit", "per", "period"),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=60), nullable=False),
        sa.Column("unit", sa.String(length=12), nullable=False),
        sa.Column("per", sa.String(length=10), nullable=False),
        sa.Column("period", sa.DateTime(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("writer", sa.String(length=40), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("leases_by_holder", "leases", ["holder", "unit", "per", "period"])


def _usage() -> None:
    op.create_table(
        "usage",
        sa.Column("writer", sa.String(length=40), nullable=False),
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("team", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("task", sa.String(length=130), nullable=False),
        sa.Column("deployment", sa.String(length=120), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in (
                "requests",
                "failed",
                "prompt_tokens",
                "completion_tokens",
                "estimated",
                "cost_microusd",
                "unpriced",
            )
        ),
        sa.PrimaryKeyConstraint("writer", "hour", "team", "key", "task", "deployment", "internal"),
    )
    op.create_index("usage_by_hour", "usage", ["hour"])


def downgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        for name in ("trace", "content", "cost_microusd", "usage_estimated", "team", "endpoint"):
            table.drop_column(name)
        table.alter_column(
            "task", existing_type=sa.String(length=130), type_=sa.String(length=80), existing_nullable=False
        )
    for name in ("applied", "usage", "leases", "spending"):
        op.drop_table(name)
    with op.batch_alter_table("keys") as table:
        table.drop_constraint("keys_of_teams", type_="foreignkey")
        for name in ("expires_at", "limits", "deployments", "tasks", "team"):
            table.drop_column(name)
    op.drop_table("teams")

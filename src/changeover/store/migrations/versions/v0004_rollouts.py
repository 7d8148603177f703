"""Rollouts by steps: shadow traffic, holds, approvals, overrides, feedback, trials, and the order in which records came.

Runs before the code that needs it. Code of 0003 goes on reading what it knows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("routes", sa.Column("shadow_share", sa.Float(), nullable=False, server_default="0"))
    for column in (
        sa.Column("hold", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("override", sa.Integer(), nullable=True),
        sa.Column("trial", sa.Integer(), nullable=True),
    ):
        op.add_column("rollouts", column)
    op.create_index("rollouts_by_task", "rollouts", ["task", "id"])
    _exchanges()
    _steering()
    _observing()
    _trials()


def _exchanges() -> None:
    op.drop_index("exchanges_by_variant", table_name="exchanges")
    op.add_column("exchanges", sa.Column("violation", sa.String(length=40), nullable=True))
    op.add_column("exchanges", sa.Column("shadow_of", sa.String(length=40), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("exchanges", sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False))
        op.create_index("exchanges_by_seq", "exchanges", ["seq"])


def _steering() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_approvals_rollout", "approvals", ["rollout"])
    op.create_table(
        "overrides",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("gate", sa.String(length=20), nullable=False),
        sa.Column("approver", sa.String(length=80), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("ended_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_overrides_rollout", "overrides", ["rollout"])


def _observing() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("exchange", sa.String(length=40), nullable=False),
        sa.Column("task", sa.String(length=130), nullable=False),
        sa.Column("variant", sa.String(length=12), nullable=False),
        sa.Column("good", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_feedback_exchange", "feedback", ["exchange"])
    op.create_index("feedback_by_task", "feedback", ["task", "at"])
    op.create_table(
        "shadow_scores",
        sa.Column("exchange", sa.String(length=40), nullable=False),
        sa.Column("scorer", sa.String(length=64), nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("incumbent_score", sa.Float(), nullable=True),
        sa.Column("candidate_score", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("exchange", "scorer"),
    )
    op.create_index("ix_shadow_scores_rollout", "shadow_scores", ["rollout"])
    op.create_table(
        "alias_checks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("variant", sa.String(length=12), nullable=False),
        sa.Column("deployment", sa.String(length=120), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.Float(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["variant"], ["variants.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("alias_checks_by_variant", "alias_checks", ["variant", "id"])


def _trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("candidate", sa.String(length=120), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "trial_tasks",
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("comparison", sa.String(length=40), nullable=True),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["trial"], ["trials.id"]),
        sa.PrimaryKeyConstraint("trial", "task"),
    )


def downgrade() -> None:
    for name in ("trial_tasks", "trials", "alias_checks", "shadow_scores", "feedback", "overrides", "approvals"):
        op.drop_table(name)
    on_postgres = op.get_bind().dialect.name == "postgresql"
    for name in ("shadow_of", "violation", *(["seq"] if on_postgres else [])):
        op.drop_column("exchanges", name)
    op.create_index("exchanges_by_variant", "exchanges", ["variant", "started_at"])
    op.drop_index("rollouts_by_task", table_name="rollouts")
    for name in ("trial", "override", "hold"):
        op.drop_column("rollouts", name)
    op.drop_column("routes", "shadow_share")

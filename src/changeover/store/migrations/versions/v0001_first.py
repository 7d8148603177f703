"""The first schema: keys, deployments, bundles, routes, rollouts, evidence, exchanges.

Runs before the code that needs it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("bundle", sa.String(length=64), nullable=False),
        sa.Column("sample", sa.String(length=64), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("finish_reason", sa.String(length=20), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("answers_by_bundle", "answers", ["bundle", "sample", "repeat"], unique=False)
    op.create_table(
        "bundles",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "deployments",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("backend", sa.String(length=20), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("engine", sa.JSON(), nullable=False),
        sa.Column("desired", sa.String(length=10), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "exchanges",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("variant", sa.String(length=12), nullable=True),
        sa.Column("deployment", sa.String(length=120), nullable=True),
        sa.Column("side", sa.String(length=10), nullable=True),
        sa.Column("key", sa.String(length=40), nullable=True),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=40), nullable=True),
        sa.Column("error_source", sa.String(length=10), nullable=True),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("abandoned", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failed_variants", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("first_chunk_ms", sa.Float(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("exchanges_by_task", "exchanges", ["task", "started_at"], unique=False)
    op.create_index("exchanges_by_variant", "exchanges", ["variant", "started_at"], unique=False)
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "scores",
        sa.Column("answer", sa.Integer(), nullable=False),
        sa.Column("scorer", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["answer"],
            ["answers.id"],
        ),
        sa.PrimaryKeyConstraint("answer", "scorer"),
    )
    op.create_table(
        "variants",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("deployment", sa.String(length=120), nullable=False),
        sa.Column("bundle", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle"],
            ["bundles.digest"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("incumbent", sa.String(length=12), nullable=False),
        sa.Column("candidate", sa.String(length=12), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("scorer", sa.String(length=64), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["candidate"],
            ["variants.id"],
        ),
        sa.ForeignKeyConstraint(
            ["incumbent"],
            ["variants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("comparisons_by_task", "comparisons", ["task", "started_at"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("incumbent", sa.String(length=12), nullable=False),
        sa.Column("candidate", sa.String(length=12), nullable=False),
        sa.Column("comparison", sa.String(length=40), nullable=True),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("step_started_at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["candidate"],
            ["variants.id"],
        ),
        sa.ForeignKeyConstraint(
            ["incumbent"],
            ["variants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("rollouts_by_state", "rollouts", ["state"], unique=False)
    op.create_table(
        "routes",
        sa.Column("revision", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("incumbent", sa.String(length=12), nullable=False),
        sa.Column("candidate", sa.String(length=12), nullable=True),
        sa.Column("former", sa.String(length=12), nullable=True),
        sa.Column("candidate_weight", sa.Float(), nullable=False),
        sa.Column("salt", sa.String(length=40), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=True),
        sa.Column("comparison", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate"],
            ["variants.id"],
        ),
        sa.ForeignKeyConstraint(
            ["former"],
            ["variants.id"],
        ),
        sa.ForeignKeyConstraint(
            ["incumbent"],
            ["variants.id"],
        ),
        sa.PrimaryKeyConstraint("revision"),
        sqlite_autoincrement=True,
    )
    op.create_index("routes_by_task", "routes", ["task", "revision"], unique=False)
    op.create_table(
        "comparison_samples",
        sa.Column("comparison", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sample", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=200), nullable=False),
        sa.Column("incumbent_answer", sa.Integer(), nullable=False),
        sa.Column("candidate_answer", sa.Integer(), nullable=False),
        sa.Column("incumbent_score", sa.Float(), nullable=False),
        sa.Column("candidate_score", sa.Float(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_answer"],
            ["answers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["comparison"],
            ["comparisons.id"],
        ),
        sa.ForeignKeyConstraint(
            ["incumbent_answer"],
            ["answers.id"],
        ),
        sa.PrimaryKeyConstraint("comparison", "position"),
    )
    op.create_table(
        "rollout_events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["rollout"],
            ["rollouts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_rollout_events_rollout"), "rollout_events", ["rollout"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_rollout_events_rollout"), table_name="rollout_events")
    op.drop_table("rollout_events")
    op.drop_table("comparison_samples")
    op.drop_index("routes_by_task", table_name="routes")
    op.drop_table("routes")
    op.drop_index("rollouts_by_state", table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_index("comparisons_by_task", table_name="comparisons")
    op.drop_table("comparisons")
    op.drop_table("variants")
    op.drop_table("scores")
    op.drop_table("keys")
    op.drop_index("exchanges_by_variant", table_name="exchanges")
    op.drop_index("exchanges_by_task", table_name="exchanges")
    op.drop_table("exchanges")
    op.drop_table("deployments")
    op.drop_table("bundles")
    op.drop_table("answers")

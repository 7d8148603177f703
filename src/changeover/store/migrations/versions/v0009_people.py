"""Keys of five roles, what people did that leaves no other row, and everything that was done by its time.

Who was an operator may do everything, as before, and is an admin now; a monitor is a viewer. Code of 0008 goes on
reading and writing what it knows, and answers applications; to it an admin's key is of a role that it has no use for,
until it is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BY_TIME = {
    "routes": "created_at",
    "rollout_events": "at",
    "approvals": "at",
    "overrides": "created_at",
    "applied": "created_at",
    "comparisons": "started_at",
}
_keys = sa.table("keys", sa.column("role", sa.String()))


def upgrade() -> None:
    _rename({"operator": "admin", "monitor": "viewer"})
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("task", sa.String(length=130), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_time", "audit", ["at"])
    for table, column in BY_TIME.items():
        op.create_index(f"{table}_by_time", table, [column])


def downgrade() -> None:
    for table in BY_TIME:
        op.drop_index(f"{table}_by_time", table_name=table)
    op.drop_table("audit")
    _rename({"approver": "operator", "admin": "operator", "viewer": "monitor"})


def _rename(roles: Mapping[str, str]) -> None:
    for before, after in roles.items():
        op.execute(_keys.update().where(_keys.c.role == before).values(role=after))

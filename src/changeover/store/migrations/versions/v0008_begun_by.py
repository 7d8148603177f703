"""Exchanges say which variants began a stream that another went on with.

Runs before the code that needs it. Code of 0007 goes on reading and writing what it knows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("exchanges", sa.Column("begun_by", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        table.drop_column("begun_by")

"""What is looked for costs by what waits; nothing is taken away, so older workers go on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
needs = "0002"


def upgrade() -> None:
    """Add the indexes and tables."""
    _partial_index(
        "run_waiting",
        "run",
        ["flow", sa.text("priority DESC"), "claimable_at", "id"],
        "claimable_at IS NOT NULL",
    )


def _partial_index(name: str, table: str, columns: list[str | sa.TextClause], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_index("run_waiting", "run")

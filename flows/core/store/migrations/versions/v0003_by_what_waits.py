"""What is looked for costs by what waits; nothing is taken away, so older workers go on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flows.core.store.database import UtcTime, has_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
needs = "0002"


def upgrade() -> None:
    """Add the indexes and tables."""
    _partial_index(
        "run_queued",
        "run",
        [
            sa.text("coalesce('lane ' || lane, 'flow ' || flow)"),
            sa.text("priority DESC"),
            "claimable_at",
            "id",
        ],
        "claimable_at IS NOT NULL AND status = 'queued'",
    )
    _partial_index("fire_of_run", "fire", ["schedule", "decided_at"], "run_id IS NOT NULL")
    op.create_index("run_newest_of_status", "run", ["status", "created_at", "id"])
    op.drop_index("run_status", "run")  # the one before does all that it did
    if not has_table(op.get_bind(), "delivery"):  # a courier may have been faster
        _create_delivery()
    op.create_table(
        "request",
        sa.Column("key", sa.String(420), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("at", UtcTime, nullable=False),
    )
    op.create_index("request_oldest", "request", ["at"])


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("alert", sa.String(300), primary_key=True),
        sa.Column("channel", sa.String(200), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", UtcTime),
        sa.Column("at", UtcTime),
        sa.Column("problem", sa.Text),
    )
    _partial_index("delivery_due", "delivery", ["next_at"], "next_at IS NOT NULL")
    _partial_index("delivery_taken", "delivery", ["channel", "at"], "state = 'delivered'")
    _partial_index("schedule_waits", "schedule", ["topic"], "topic IS NOT NULL")
    _partial_index(
        "schedule_waits_for_any",
        "schedule",
        ["topic"],
        "topic LIKE '%*%' OR topic LIKE '%?%' OR topic LIKE '%[%'",
    )
    _partial_index(
        "fire_pending",
        "fire",
        ["decided_at", "schedule"],
        "decided_at >= '9000-01-01T00:00:00.000000+00:00'",
    )


def _partial_index(name: str, table: str, columns: list[str | sa.TextClause], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("request")
    op.drop_index("fire_pending", "fire")
    op.drop_index("schedule_waits_for_any", "schedule")
    op.drop_index("schedule_waits", "schedule")
    op.create_index("run_status", "run", ["status"])
    op.drop_index("run_newest_of_status", "run")
    op.drop_index("fire_of_run", "fire")
    op.drop_table("delivery")
    op.drop_index("run_queued", "run")

"""What it takes to run by itself: schedules, fires, admission and alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flows.core.store.database import UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
needs = "0002"


def upgrade() -> None:
    """Add the columns and tables."""
    op.add_column("run", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
    op.add_column("run", sa.Column("lane", sa.String(200)))
    op.add_column("run", sa.Column("max_runs", sa.Integer))
    op.add_column("run", sa.Column("held_by", sa.String(200)))
    op.add_column("run", sa.Column("claimable_at", UtcTime))
    op.add_column("run", sa.Column("claimable", sa.String(1000)))
    _partial_index("run_open_in_lane", "run", ["lane"], "lane IS NOT NULL AND ended_at IS NULL")
    _partial_index("run_held", "run", ["held_by"], "held_by IS NOT NULL AND ended_at IS NULL")
    _partial_index("run_claimable", "run", ["claimable_at"], "claimable_at IS NOT NULL")
    op.add_column("attempt", sa.Column("pool", sa.String(100)))
    op.add_column("attempt", sa.Column("weight", sa.Integer, nullable=False, server_default="1"))
    _partial_index("attempt_in_pool", "attempt", ["pool", "started_at"], "pool IS NOT NULL")
    _partial_index(
        "attempt_holds_slots", "attempt", ["pool"], "pool IS NOT NULL AND status = 'running'"
    )
    op.add_column("lease", sa.Column("serves", sa.String(1000)))
    _create_schedules()
    _create_outbox()


def _create_schedules() -> None:
    op.create_table(
        "schedule",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("topic", sa.String(220)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("next_at", UtcTime),
        sa.Column("cursor", sa.Text, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
    )
    _partial_index(
        "schedule_due", "schedule", ["next_at"], "status = 'active' AND next_at IS NOT NULL"
    )
    op.create_table(
        "fire",
        sa.Column("schedule", sa.String(200), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("decided_at", UtcTime, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("run_id", sa.String(64)),
    )
    op.create_index("fire_newest", "fire", ["schedule", "decided_at"])
    followed = "status = 'active' AND topic IS NOT NULL"
    _partial_index("schedule_topic", "schedule", ["topic"], followed)
    _partial_index("event_asset", "event", ["id"], "kind = 'asset.updated'")
    op.create_table(
        "deadline",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("warned", sa.Integer, nullable=False),
        sa.Column("next_at", UtcTime),
    )
    _partial_index("deadline_due", "deadline", ["next_at"], "next_at IS NOT NULL")


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("key", sa.String(300), primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("flow", sa.String(200)),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("alert", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", UtcTime, nullable=False),
        sa.Column("delivered_at", UtcTime),
        sa.Column("deliveries", sa.Text, nullable=False),
    )
    op.create_index("outbox_told", "outbox", ["delivered_at"])
    op.create_index("outbox_newest", "outbox", ["at"])
    _partial_index("outbox_due", "outbox", ["next_at"], "status = 'pending'")


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("outbox", "deadline", "fire", "schedule"):
        op.drop_table(table)
    op.drop_index("event_asset", "event")
    op.drop_column("lease", "serves")
    op.drop_index("attempt_holds_slots", "attempt")
    op.drop_index("attempt_in_pool", "attempt")
    op.drop_column("attempt", "weight")
    op.drop_column("attempt", "pool")
    op.drop_index("run_claimable", "run")
    op.drop_index("run_held", "run")
    op.drop_index("run_open_in_lane", "run")
    for column in ("claimable", "claimable_at", "held_by", "max_runs", "lane", "priority"):
        op.drop_column("run", column)

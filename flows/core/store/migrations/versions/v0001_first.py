"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flows.core.store.database import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
needs = "0001"

_APPEND_ONLY = "the event table is append-only"


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "run",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("flow", sa.String(200), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("source", sa.String(400), nullable=False),
        sa.Column("config_digest", sa.String(64), nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("started_at", UtcTime),
        sa.Column("ended_at", UtcTime),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.UniqueConstraint("flow", "key", name="one_run_per_flow_and_key"),
    )
    op.create_index("run_newest", "run", ["created_at", "id"])
    op.create_index("run_newest_of_flow", "run", ["flow", "created_at"])
    op.create_index("run_status", "run", ["status"])
    op.create_table(
        "definition",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("graph", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("config_yaml", sa.Text, nullable=False),
    )
    _create_tasks()
    _create_attempts()
    _create_events()
    op.create_table(
        "lease",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
    )


def _create_tasks() -> None:
    op.create_table(
        "task_run",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("ready_at", UtcTime),
        sa.Column("started_at", UtcTime),
        sa.Column("ended_at", UtcTime),
        sa.Column("reason", sa.Text),
        sa.Column("value", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("cache_key", sa.String(64)),
        sqlite_with_rowid=False,
    )
    _partial_index("task_reusable", "task_run", ["cache_key"], "cache_key IS NOT NULL")


def _create_attempts() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", sa.String(300), primary_key=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("executor", sa.String(40), nullable=False),
        sa.Column("worker", sa.String(120), nullable=False),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("ended_at", UtcTime),
        sa.Column("stopping", sa.String(16)),
        sa.Column("error", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("attempt_of_run", "attempt", ["run_id"])
    _partial_index(
        "one_live_attempt", "attempt", ["run_id", "key"], "status = 'running'", unique=True
    )


def _create_events() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("run_id", sa.String(64)),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("task", sa.String(200)),
        sa.Column("attempt", sa.Integer),
        sa.Column("data", sa.Text, nullable=False),
        sa.UniqueConstraint("run_id", "seq", name="one_event_per_transition"),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER event_no_{verb.lower()} BEFORE {verb} ON event "
                f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION event_is_append_only() RETURNS trigger AS "
            f"$$ BEGIN RAISE EXCEPTION '{_APPEND_ONLY}'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            "CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON event "
            "FOR EACH ROW EXECUTE FUNCTION event_is_append_only()"
        )


def _partial_index(
    name: str, table: str, columns: list[str], where: str, *, unique: bool = False
) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("lease", "event", "attempt", "task_run", "definition", "run"):
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION event_is_append_only()")

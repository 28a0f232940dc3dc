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

_APPEND_ONLY = "the event table is append-only"
_MOVES_ON = "what is kept since only moves on"


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
        "claimable IS NOT NULL AND status <> 'running'",
    )
    _partial_index("fire_of_run", "fire", ["schedule", "decided_at"], "run_id IS NOT NULL")
    op.create_index("run_newest_of_status", "run", ["status", "created_at", "id"])
    op.drop_index("run_status", "run")  # the one before does all that it did
    if not has_table(op.get_bind(), "delivery"):  # a courier may have been faster
        _create_delivery()
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
    _let_old_events_go()
    op.create_table(
        "request",
        sa.Column("key", sa.String(420), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("at", UtcTime, nullable=False),
    )
    op.create_index("request_oldest", "request", ["at"])


def _let_old_events_go() -> None:
    """Events are appended only; what is older than a horizon, which only moves on, may go."""
    op.create_table(
        "retention",
        sa.Column("what", sa.String(40), primary_key=True),
        sa.Column("before", UtcTime, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        asset = "json_extract(data, '$.asset')"
        op.execute("DROP TRIGGER event_no_delete")
        op.execute(
            "CREATE TRIGGER event_no_delete BEFORE DELETE ON event WHEN NOT EXISTS "
            "(SELECT 1 FROM retention WHERE what = 'event' AND OLD.at < before) "
            f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        )
        for verb, when in (("UPDATE", "WHEN NEW.before < OLD.before "), ("DELETE", "")):
            op.execute(
                f"CREATE TRIGGER retention_no_{verb.lower()} BEFORE {verb} ON retention {when}"
                f"BEGIN SELECT RAISE(ABORT, '{_MOVES_ON}'); END"
            )
    else:
        asset = "(data::json ->> 'asset')"
        op.execute(
            "CREATE OR REPLACE FUNCTION event_is_append_only() RETURNS trigger AS $$ BEGIN "
            "IF TG_OP = 'DELETE' AND OLD.at < "
            "(SELECT before FROM retention WHERE what = 'event') THEN RETURN OLD; END IF; "
            f"RAISE EXCEPTION '{_APPEND_ONLY}'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            "CREATE FUNCTION retention_moves_on() RETURNS trigger AS $$ BEGIN "
            "IF TG_OP = 'UPDATE' AND NEW.before >= OLD.before THEN RETURN NEW; END IF; "
            f"RAISE EXCEPTION '{_MOVES_ON}'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            "CREATE TRIGGER retention_moves_on BEFORE UPDATE OR DELETE ON retention "
            "FOR EACH ROW EXECUTE FUNCTION retention_moves_on()"
        )
    _partial_index("event_of_asset", "event", [sa.text(asset), "id"], "kind = 'asset.updated'")


def _keep_all_events() -> None:
    op.drop_index("event_of_asset", "event")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER event_no_delete")
        op.drop_table("retention")
        op.execute(
            "CREATE TRIGGER event_no_delete BEFORE DELETE ON event "
            f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        )
    else:
        op.execute(
            "CREATE OR REPLACE FUNCTION event_is_append_only() RETURNS trigger AS "
            f"$$ BEGIN RAISE EXCEPTION '{_APPEND_ONLY}'; END $$ LANGUAGE plpgsql"
        )
        op.drop_table("retention")
        op.execute("DROP FUNCTION retention_moves_on()")


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


def _partial_index(name: str, table: str, columns: list[str | sa.TextClause], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def downgrade() -> None:
    """Take them away again."""
    _keep_all_events()
    op.drop_table("request")
    op.drop_index("fire_pending", "fire")
    op.drop_index("schedule_waits_for_any", "schedule")
    op.drop_index("schedule_waits", "schedule")
    op.create_index("run_status", "run", ["status"])
    op.drop_index("run_newest_of_status", "run")
    op.drop_index("fire_of_run", "fire")
    op.drop_table("delivery")
    op.drop_index("run_queued", "run")

"""The tables of the state store. What must be unique is a constraint here, not a check in code.

run 1─1 definition      what was asked for: the graph and the resolved config
run 1─n task_run        where each task stands
task_run 1─n attempt    each try; at most one alive per task run
event                   append-only: one line per transition
retention               up to when old events may be removed: what is kept since
lease                   who is alive
schedule 1─n fire       what starts runs by itself; each fire at most once
run 1─1 deadline        when a run has to have ended, and when to look whether it will
outbox 1─n delivery     alerts, written with the event that they tell of, until delivered
request                 what the idempotency keys of callers stand for

Where an index is partial, `sqlite_where` says how, and the migrations say the same to PostgreSQL:
said here too, it would have every command import that dialect.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from flows.core.store.database import UtcTime

metadata = MetaData()

run = Table(
    "run",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("flow", String(200), nullable=False),
    Column("key", String(200), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("source", String(400), nullable=False),
    Column("config_digest", String(64), nullable=False),
    Column("trigger", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("seq", Integer, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("lane", String(200)),
    Column("max_runs", Integer),
    Column("held_by", String(200)),
    Column("claimable_at", UtcTime),
    Column("claimable", String(1000)),
    UniqueConstraint("flow", "key", name="one_run_per_flow_and_key"),
    Index("run_newest", "created_at", "id"),
    Index("run_newest_of_flow", "flow", "created_at"),
    Index("run_newest_of_status", "status", "created_at", "id"),
)
Index("run_open_in_lane", run.c.lane, sqlite_where=text("lane IS NOT NULL AND ended_at IS NULL"))
Index("run_held", run.c.held_by, sqlite_where=text("held_by IS NOT NULL AND ended_at IS NULL"))
Index("run_claimable", run.c.claimable_at, sqlite_where=text("claimable_at IS NOT NULL"))
Index(  # one order for each lane and, without a lane, for each flow: see `waiting`
    "run_queued",
    text("coalesce('lane ' || lane, 'flow ' || flow)"),
    run.c.priority.desc(),
    run.c.claimable_at,
    run.c.id,
    sqlite_where=text("claimable IS NOT NULL AND status <> 'running'"),
)

definition = Table(
    "definition",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("graph", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("config_yaml", Text, nullable=False),
)

task_run = Table(
    "task_run",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("ready_at", UtcTime),
    Column("started_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("reason", Text),
    Column("value", Text),
    Column("error", Text),
    Column("cache_key", String(64)),
    sqlite_with_rowid=False,  # one B-tree to write to instead of two
)
Index("task_reusable", task_run.c.cache_key, sqlite_where=text("cache_key IS NOT NULL"))

attempt = Table(
    "attempt",
    metadata,
    Column("id", String(300), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("key", String(200), nullable=False),
    Column("number", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("executor", String(40), nullable=False),
    Column("worker", String(120), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("stopping", String(16)),
    Column("error", Text),
    Column("pool", String(100)),
    Column("weight", Integer, nullable=False, server_default="1"),
    sqlite_with_rowid=False,
)
Index("attempt_of_run", attempt.c.run_id)
Index(
    "attempt_in_pool", attempt.c.pool, attempt.c.started_at, sqlite_where=text("pool IS NOT NULL")
)
Index(
    "attempt_holds_slots",
    attempt.c.pool,
    sqlite_where=text("pool IS NOT NULL AND status = 'running'"),
)
Index(
    "one_live_attempt",
    attempt.c.run_id,
    attempt.c.key,
    unique=True,
    sqlite_where=text("status = 'running'"),
)

event = Table(
    "event",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("run_id", String(64)),
    Column("seq", Integer, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("task", String(200)),
    Column("attempt", Integer),
    Column("data", Text, nullable=False),
    UniqueConstraint("run_id", "seq", name="one_event_per_transition"),
    sqlite_autoincrement=True,
)
Index("event_asset", event.c.id, sqlite_where=text("kind = 'asset.updated'"))

# Of 0003, and not said here: `event_of_asset`, on an expression that each database writes its way.

retention = Table(
    "retention",
    metadata,
    Column("what", String(40), primary_key=True),
    Column("before", UtcTime, nullable=False),
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("token", Integer, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("serves", String(1000)),
)

PENDING_UNTIL = datetime(9000, 1, 1, tzinfo=UTC)
"""When a fire that waits for a decision is decided on: a time that older code can read."""

PENDING = "decided_at >= '9000-01-01T00:00:00.000000+00:00'"
"""Of a fire that waits for a decision; literally, as partial indexes need it."""

WILDCARD = "topic LIKE '%*%' OR topic LIKE '%?%' OR topic LIKE '%[%'"
"""Of a schedule that waits for assets by a pattern; literally, as well."""

schedule = Table(
    "schedule",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("flow", String(200), nullable=False),
    Column("definition", Text, nullable=False),
    Column("topic", String(220)),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("next_at", UtcTime),
    Column("cursor", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("seq", Integer, nullable=False),
)
Index(
    "schedule_topic", schedule.c.topic, sqlite_where=text("status = 'active' AND topic IS NOT NULL")
)
Index(
    "schedule_due",
    schedule.c.next_at,
    sqlite_where=text("status = 'active' AND next_at IS NOT NULL"),
)

Index("schedule_waits", schedule.c.topic, sqlite_where=text("topic IS NOT NULL"))

Index("schedule_waits_for_any", schedule.c.topic, sqlite_where=text(WILDCARD))

fire = Table(
    "fire",
    metadata,
    Column("schedule", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text),
    Column("run_id", String(64)),
    Index("fire_newest", "schedule", "decided_at"),
)
Index("fire_of_run", fire.c.schedule, fire.c.decided_at, sqlite_where=text("run_id IS NOT NULL"))
Index("fire_pending", fire.c.decided_at, fire.c.schedule, sqlite_where=text(PENDING))

deadline = Table(
    "deadline",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("warned", Integer, nullable=False),
    Column("next_at", UtcTime),
)
Index("deadline_due", deadline.c.next_at, sqlite_where=text("next_at IS NOT NULL"))

outbox = Table(
    "outbox",
    metadata,
    Column("key", String(300), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("flow", String(200)),
    Column("subject", String(200), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("alert", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_at", UtcTime, nullable=False),
    Column("delivered_at", UtcTime),
    Column("deliveries", Text, nullable=False),
    Index("outbox_told", "delivered_at"),
    Index("outbox_newest", "at"),
)
Index("outbox_due", outbox.c.next_at, sqlite_where=text("status = 'pending'"))

delivery = Table(
    "delivery",
    metadata,
    Column("alert", String(300), primary_key=True),
    Column("channel", String(200), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_at", UtcTime),
    Column("at", UtcTime),
    Column("problem", Text),
)
Index("delivery_due", delivery.c.next_at, sqlite_where=text("next_at IS NOT NULL"))
Index("delivery_taken", delivery.c.channel, delivery.c.at, sqlite_where=text("state = 'delivered'"))

request = Table(
    "request",
    metadata,
    Column("key", String(420), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("at", UtcTime, nullable=False),
    Index("request_oldest", "at"),
)

"""The tables of the state store. What must be unique is a constraint here, not a check in code.

run 1─1 definition      what was asked for: the graph and the resolved config
run 1─n task_run        where each task stands
task_run 1─n attempt    each try; at most one alive per task run
event                   append-only: one line per transition
lease                   who is alive
"""

from __future__ import annotations

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
    UniqueConstraint("flow", "key", name="one_run_per_flow_and_key"),
    Index("run_newest", "created_at", "id"),
    Index("run_newest_of_flow", "flow", "created_at"),
    Index("run_status", "status"),
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
Index(
    "task_reusable",
    task_run.c.cache_key,
    sqlite_where=text("cache_key IS NOT NULL"),
    postgresql_where=text("cache_key IS NOT NULL"),
)

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
    sqlite_with_rowid=False,
)
Index("attempt_of_run", attempt.c.run_id)
Index(
    "one_live_attempt",
    attempt.c.run_id,
    attempt.c.key,
    unique=True,
    sqlite_where=text("status = 'running'"),
    postgresql_where=text("status = 'running'"),
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

lease = Table(
    "lease",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("token", Integer, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

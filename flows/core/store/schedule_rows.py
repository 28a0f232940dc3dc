"""Schedules and fires to rows and back."""

from __future__ import annotations

import json
from typing import Any

from flows.core import values
from flows.core.schedule import (
    Fire,
    FireOutcome,
    NewData,
    OnAsset,
    Schedule,
    ScheduleStatus,
    StoredSchedule,
    Trigger,
)
from flows.core.store.rows import Row

VIEW = "view:"
ASSET = "asset:"


def topic_of(trigger: Trigger) -> str | None:
    """What the trigger waits for other than time: `view:digits`, `asset:model:*`, or nothing."""
    if isinstance(trigger, NewData):
        return VIEW + trigger.view
    return ASSET + trigger.asset if isinstance(trigger, OnAsset) else None


def schedule_row(stored: StoredSchedule) -> dict[str, Any]:
    """All columns of `schedule`."""
    return {
        "name": stored.schedule.name,
        "flow": stored.schedule.flow,
        "definition": values.dumps(stored.schedule),
        "topic": topic_of(stored.schedule.trigger),
        "status": stored.status.value,
        "reason": stored.reason,
        "next_at": stored.next_at,
        "cursor": values.dumps(stored.cursor),
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "seq": stored.seq,
    }


def schedule_from(row: Row) -> StoredSchedule:
    """A StoredSchedule from its row. Raises NotStorable for one that another version wrote."""
    return StoredSchedule(
        schedule=values.loads(row["definition"], Schedule),
        status=ScheduleStatus(row["status"]),
        reason=row["reason"],
        next_at=row["next_at"],
        cursor=json.loads(row["cursor"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        seq=row["seq"],
    )


def fire_row(fire: Fire) -> dict[str, Any]:
    """All columns of `fire`."""
    return {**vars(fire), "outcome": fire.outcome.value}


def fire_from(row: Row) -> Fire:
    """A Fire from its row."""
    return Fire(**{**row, "outcome": FireOutcome(row["outcome"])})

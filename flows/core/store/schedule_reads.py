"""What is known of schedules, their fires and their runs: reads that never wait for a writer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches

from sqlalchemy import Connection, RowMapping, bindparam, func, select, text

from flows.core import values
from flows.core.errors import NotFound, NotStorable
from flows.core.records import Asset, Run
from flows.core.schedule import Fire, ScheduleStatus, StoredSchedule
from flows.core.store import rows, schema
from flows.core.store.database import Database
from flows.core.store.schedule_rows import fire_from, schedule_from

_schedule, _fire, _run, _event = schema.schedule, schema.fire, schema.run, schema.event


class ScheduleReads:
    """What is known of schedules."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> StoredSchedule:
        """One schedule. Raises NotFound, naming the nearest."""
        with self._database.read() as connection:
            row = connection.execute(BY_NAME, {"name": name}).mappings().first()
            if row is None:
                raise unknown(connection, name)
            return schedule_from(row)

    def list(self, *, removed: bool = False) -> tuple[StoredSchedule, ...]:
        """All schedules by name; with `removed`, also those that are no longer declared.

        Not those that another version of Ratchet wrote, and this one cannot read.
        """
        query = select(_schedule).order_by(_schedule.c.name)
        if not removed:
            query = query.where(_schedule.c.status != ScheduleStatus.REMOVED.value)
        with self._database.read() as connection:
            return readable(connection.execute(query).mappings().all())[0]

    def topics(self) -> frozenset[str]:
        """What active schedules wait for, other than time."""
        with self._database.read() as connection:
            return frozenset(connection.execute(_TOPICS).scalars())

    def next_at(self) -> datetime | None:
        """When the next schedule is due; None when none ever is by time."""
        with self._database.read() as connection:
            earliest: datetime | None = connection.execute(_EARLIEST).scalar()
        return earliest

    def fires(self, name: str, limit: int = 20) -> tuple[Fire, ...]:
        """The newest fires of a schedule first."""
        with self._database.read() as connection:
            found = connection.execute(_NEWEST_FIRES, {"name": name, "limit": limit}).mappings()
            return tuple(fire_from(row) for row in found)

    def last_fires(self) -> dict[str, Fire]:
        """The newest fire of each schedule."""
        with self._database.read() as connection:
            found = [fire_from(row) for row in connection.execute(_LAST_FIRES).mappings()]
        return {fire.schedule: fire for fire in sorted(found, key=lambda fire: fire.at)}

    def fires_of(self, name: str, keys: Sequence[str]) -> dict[str, Fire]:
        """What became of some keys of a schedule, as far as they are recorded."""
        with self._database.read() as connection:
            return fires_of(connection, name, keys)

    def open_runs(self, stored: StoredSchedule) -> tuple[Run, ...]:
        """The open runs of a schedule, oldest first; none when it is no longer where it was read.

        One statement: what it returns was there before anybody else fired the schedule.
        """
        lane = lane_of(stored.schedule.name)
        where = {"lane": lane, "name": stored.schedule.name, "seq": stored.seq}
        with self._database.read() as connection:
            found = connection.execute(_OPEN_UNLESS_MOVED, where).mappings()
            return tuple(rows.run_from(row) for row in found)

    def newest_assets(self, count: int = 100) -> frozenset[int]:
        """The newest events of assets: as long as these are the same, nothing has happened."""
        with self._database.read() as connection:
            return frozenset(connection.execute(_NEWEST_ASSETS, {"count": count}).scalars())

    def assets(self, after: int, limit: int = 10_000) -> tuple[tuple[int, datetime, Asset], ...]:
        """The assets that tasks made or changed, by the events after `after`, oldest first."""
        with self._database.read() as connection:
            found = connection.execute(_ASSETS, {"after": after, "limit": limit}).all()
        return tuple(
            (row.id, row.at, Asset(name=data["asset"], version=str(data["version"])))
            for row in found
            for data in (values.loads(row.data),)
        )


def lane_of(name: str) -> str:
    """The lane of a schedule's runs: of the runs in one lane, one runs at a time."""
    return f"schedule:{name}"


def overlapping(run: Run) -> str:
    """Why a fire was skipped, in one sentence."""
    return f"run {run.id} was still open"


def readable(
    found: Sequence[RowMapping],
) -> tuple[tuple[StoredSchedule, ...], dict[str, str]]:
    """The schedules of some rows, and what is wrong with the others, by name."""
    good, problems = [], {}
    for row in found:
        try:
            good.append(schedule_from(row))
        except (NotStorable, ValueError) as error:  # written by another version of Ratchet
            problems[row["name"]] = f"it cannot be read: {error}"
    return tuple(good), problems


def fires_of(connection: Connection, name: str, keys: Sequence[str]) -> dict[str, Fire]:
    found = connection.execute(_FIRES_OF, {"name": name, "keys": list(keys)}).mappings()
    return {row["key"]: fire_from(row) for row in found}


def unknown(connection: Connection, name: str) -> NotFound:
    names = list(connection.execute(_NAMES).scalars())
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else "see them: ratchet schedules"
    return NotFound(f"there is no schedule {name}", hint=hint)


IS_ACTIVE = text("status = 'active'")  # literally, for the partial indexes
_IS_OPEN = text("ended_at IS NULL")
BY_NAME = select(_schedule).where(_schedule.c.name == bindparam("name"))
_NAMES = select(_schedule.c.name).where(_schedule.c.status != ScheduleStatus.REMOVED.value)
_EARLIEST = select(func.min(_schedule.c.next_at)).where(IS_ACTIVE, text("next_at IS NOT NULL"))
_TOPICS = select(_schedule.c.topic).where(IS_ACTIVE, text("topic IS NOT NULL")).distinct()
_NEWEST_FIRES = (
    select(_fire)
    .where(_fire.c.schedule == bindparam("name"))
    .order_by(_fire.c.decided_at.desc(), _fire.c.at.desc())
    .limit(bindparam("limit"))
)
_newest = _fire.alias()
_LAST_FIRES = select(_fire).join(
    _schedule,
    (_fire.c.schedule == _schedule.c.name)
    & (
        _fire.c.decided_at
        == select(func.max(_newest.c.decided_at))
        .where(_newest.c.schedule == _schedule.c.name)
        .scalar_subquery()
    ),
)
_FIRES_OF = select(_fire).where(
    _fire.c.schedule == bindparam("name"), _fire.c.key.in_(bindparam("keys", expanding=True))
)
OPEN_IN_LANE = (
    select(_run).where(_run.c.lane == bindparam("lane"), _IS_OPEN).order_by(_run.c.created_at)
)
_OPEN_UNLESS_MOVED = OPEN_IN_LANE.where(
    select(_schedule.c.name)
    .where(_schedule.c.name == bindparam("name"), _schedule.c.seq == bindparam("seq"))
    .exists()
)
_ASSETS = (
    select(_event.c.id, _event.c.at, _event.c.data)
    .where(text("kind = 'asset.updated'"), _event.c.id > bindparam("after"))
    .order_by(_event.c.id)
    .limit(bindparam("limit"))
)
_NEWEST_ASSETS = (
    select(_event.c.id)
    .where(text("kind = 'asset.updated'"))
    .order_by(_event.c.id.desc())
    .limit(bindparam("count"))
)

"""The checks of event times: how old the newest one is, and how many lie in the future."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.checks.config import ChecksConfig
from feature_store.checks.report import CheckResult
from feature_store.event_times import plausible
from feature_store.snapshot import Snapshot


def age(
    config: ChecksConfig, snapshot: Snapshot, newest: datetime | None, now: datetime
) -> Iterator[CheckResult]:
    """Compare the age of the newest event time up to now with the oldest that is allowed."""
    if config.max_age is None:
        return
    bound = config.max_age.total_seconds()
    if newest is None:
        yield CheckResult(
            check="max_age",
            passed=False,
            bound=bound,
            message=f"{snapshot.view} has no event time yet, allowed age {config.max_age}",
        )
        return
    old = now - newest
    yield CheckResult(
        check="max_age",
        passed=old <= config.max_age,
        figure=old.total_seconds(),
        bound=bound,
        message=f"the newest event time, {newest.isoformat()}, is {old} old, "
        f"allowed {config.max_age}",
    )


def future(
    config: ChecksConfig, dataset: Any, column: str, scope: str, now: datetime
) -> Iterator[CheckResult]:
    """Say how many rows are later than now, or have a time that cannot be; nothing when none is."""
    if config.future is None:
        return
    times = dataset.to_table(columns=[column]).column(column)
    can_be = plausible(times)
    impossible = can_be.null_count - times.null_count
    later = pc.filter(can_be, pc.greater(can_be, _moment(now, times.type)))
    count = impossible + len(later)
    if not count:
        return
    parts = []
    if len(later):
        newest = _utc(pc.max(later).as_py())
        parts.append(
            f"{len(later):,} later than now, {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC (the newest: "
            f"{newest:%Y-%m-%d %H:%M}), train and judge nothing until then"
        )
    if impossible:
        parts.append(f"{impossible:,} before 1900 or after 2200, which cannot be, never do")
    share = count / len(times)
    yield CheckResult(
        check="future",
        column=column,
        passed=share <= config.future,
        figure=share,
        bound=config.future,
        notable=True,
        message=f"column {column}: {100 * share:.2g} % of {scope} ({'; '.join(parts)}), "
        f"allowed {100 * config.future:.1f} %",
    )


def newest_until(dataset: Any, column: str, now: datetime) -> datetime | None:
    """The newest event time that is not in the future."""
    times = plausible(dataset.to_table(columns=[column]).column(column))
    past = pc.max(pc.filter(times, pc.less_equal(times, _moment(now, times.type)))).as_py()
    return None if past is None else _utc(past)


def _moment(now: datetime, kind: Any) -> pa.Scalar:
    if pa.types.is_date(kind):
        return pa.scalar(now.astimezone(UTC).date(), kind)
    moment = now.astimezone(UTC)
    return pa.scalar(moment if kind.tz else moment.replace(tzinfo=None), kind)


def _utc(at: datetime | date) -> datetime:
    if not isinstance(at, datetime):
        return datetime(at.year, at.month, at.day, tzinfo=UTC)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

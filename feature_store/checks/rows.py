"""The checks of how many rows came and how old they are, from the log alone."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median

from feature_store.checks.config import ChecksConfig
from feature_store.checks.report import CheckResult
from feature_store.snapshot import Snapshot, Version

_HISTORY = 3


def volume(
    config: ChecksConfig, snapshot: Snapshot, history: Sequence[Version]
) -> Iterator[CheckResult]:
    """Compare the number of new rows with the least wanted, and with earlier versions."""
    if config.min_new_rows:
        passed = snapshot.new_rows >= config.min_new_rows
        yield CheckResult(
            check="min_new_rows",
            passed=passed,
            figure=snapshot.new_rows,
            bound=config.min_new_rows,
            message=f"{snapshot.new_rows} new rows, at least {config.min_new_rows} needed",
        )
    if config.volume_factor is None or snapshot.since is None:
        return
    filled = [v for v in history if v.rows and v.version not in snapshot.excluded]
    earlier = [v.rows for v in filled if v.version <= snapshot.since]
    new = [v for v in filled if snapshot.since < v.version <= snapshot.version]
    if not new or len(earlier) < _HISTORY:
        return
    yield _against(config.volume_factor, snapshot.new_rows / len(new), median(earlier))


def _against(factor: float, figure: float, usual: float) -> CheckResult:
    low, high = usual / factor, usual * factor
    return CheckResult(
        check="volume_factor",
        passed=low <= figure <= high,
        figure=figure,
        bound=low if figure < usual else high,
        message=f"{figure:g} new rows per version, allowed {low:g} to {high:g} "
        f"(the median of earlier versions is {usual:g})",
    )


def age(config: ChecksConfig, snapshot: Snapshot, now: datetime) -> Iterator[CheckResult]:
    """Compare the age of the newest event time with the oldest that is allowed."""
    if config.max_age is None:
        return
    bound = config.max_age.total_seconds()
    if snapshot.watermark is None:
        yield CheckResult(
            check="max_age",
            passed=False,
            bound=bound,
            message=f"{snapshot.view} has no event time yet, allowed age {config.max_age}",
        )
        return
    old = now - snapshot.watermark
    yield CheckResult(
        check="max_age",
        passed=old <= config.max_age,
        figure=old.total_seconds(),
        bound=bound,
        message=f"the newest event time, {snapshot.watermark.isoformat()}, is {old} old, "
        f"allowed {config.max_age}",
    )

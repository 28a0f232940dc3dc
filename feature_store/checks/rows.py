"""The checks of how many rows came, from the log alone."""

from collections.abc import Iterator, Sequence
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
    told = sum(version.rows for version in new) if snapshot.estimated else snapshot.new_rows
    yield _against(config.volume_factor, told / len(new), median(earlier))


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

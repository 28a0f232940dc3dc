"""Running the checks: what is known from the log first, then one pass over the columns needed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from feature_store.checks.config import ChecksConfig, Scope
from feature_store.checks.event_times import age, future, newest_until
from feature_store.checks.figures import Wanted, measure
from feature_store.checks.report import CheckReport, CheckResult
from feature_store.checks.rows import volume
from feature_store.checks.schema import named_columns, schema
from feature_store.checks.values import Checked, matured, values
from feature_store.columns import column_types, require
from feature_store.row_sets import without
from feature_store.snapshot import Part, Snapshot
from feature_store.store import FeatureStore

_REASONS = 3


def run_checks(
    store: FeatureStore,
    snapshot: Snapshot,
    config: ChecksConfig,
    *,
    now: datetime,
    label: str | None = None,
    label_delay: timedelta = timedelta(0),
) -> CheckReport:
    """Say whether a snapshot is fit to train on.

    - Bad data is a report that did not pass; a config that names a column which neither the view
      nor its table ever had is `UnknownColumn`.
    - A column that the view declares and the snapshot lacks fails, once, and is not looked at
      further; so does one whose type no longer allows a check.
    - Only the columns that a check names are read, in one streaming pass (duplicates: a second).
    - With `scope: new`, new rows that repeat one another or an older row are duplicates.
    - `now` is the moment against which `max_age`, `future` and `label_delay` are measured.
    - Labels (`label`; none: the view's) of rows younger than `label_delay` are not looked at: they
      are used neither to train nor to judge before they are mature. Those of older rows that
      matured since `snapshot.since` are looked at by `nulls` and `label_classes`.
    """
    view = store.view(snapshot.view)
    declared = store.declared_columns(view.name)
    found = column_types(store.schema(snapshot)) if declared else {}
    require(view.name, named_columns(config, view), {**declared, **found, **_own(view.columns)})

    rows = snapshot.new_rows if config.scope is Scope.NEW else snapshot.rows
    parts = store.changes(snapshot) if config.scope is Scope.NEW else store.parts(snapshot)
    unused = _without_values(store, snapshot, parts, found.keys() - declared.keys())
    found = {column: kind for column, kind in found.items() if column not in unused}
    results = [*schema(config, view, declared, found, snapshot)]
    reported = frozenset(result.column for result in results if result.column is not None)
    results += volume(config, snapshot, store.history(view.name))
    newest = snapshot.watermark
    if newest is not None and newest > now:
        newest = newest_until(store.dataset(snapshot), view.event_time, now)
    results += age(config, snapshot, newest, now)
    if rows:
        checked = Checked(
            view=view,
            types=found,
            dataset=store.dataset(snapshot, parts),
            reported=reported,
            scope="the new rows" if config.scope is Scope.NEW else f"version {snapshot.version}",
            label=label or view.label,
            mature_until=now - label_delay if label_delay else None,
        )
        if view.event_time in found:
            results += future(config, checked.dataset, view.event_time, checked.scope, now)
        wanted = config.scope is Scope.NEW and (config.duplicates is not None or label_delay)
        older = _older(store, snapshot, parts) if wanted else []
        before = store.dataset(snapshot, older) if older else None
        results += values(config, replace(checked, older=before))
        if label_delay and config.scope is Scope.NEW:
            results += _matured(store, snapshot, older, config, checked, now, label_delay)
    return _report(snapshot, rows, results)


def _older(store: FeatureStore, snapshot: Snapshot, new: Sequence[Part]) -> list[Part]:
    """What the snapshot holds beside these parts."""
    known = {part.uri: part for part in new}
    parts = store.parts(snapshot)
    return [left for part in parts if (left := without(part, known.get(part.uri))) is not None]


def _matured(
    store: FeatureStore,
    snapshot: Snapshot,
    older: Sequence[Part],
    config: ChecksConfig,
    checked: Checked,
    now: datetime,
    delay: timedelta,
) -> list[CheckResult]:
    """What is to be said of labels that matured after their rows were new."""
    if not older or snapshot.since is None:
        return []
    before = replace(
        checked,
        dataset=store.dataset(snapshot, older),
        scope=f"the rows that matured since version {snapshot.since}",
    )
    # What was compacted since may hold new rows as well.
    whole = any(part.version > snapshot.since for part in older)
    return [*matured(config, before, now=now, delay=delay, whole=whole)]


def _without_values(
    store: FeatureStore, snapshot: Snapshot, parts: Sequence[Part], columns: Iterable[str]
) -> set[str]:
    """Columns of the table that none of these rows fills: a quarantined batch brought them."""
    wanted = {column: Wanted() for column in columns}
    if not parts or not wanted:
        return set(wanted)
    figures = measure(store.dataset(snapshot, parts), wanted)
    return {column for column, found in figures.items() if found.missing == found.final}


def _own(columns: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(columns, "")


def _report(snapshot: Snapshot, rows: int, results: list[CheckResult]) -> CheckReport:
    failed = [result for result in results if not result.passed]
    if failed:
        left = len(failed) - _REASONS
        more = f"; and {left} more" if left > 0 else ""
        reason = "; ".join(result.message for result in failed[:_REASONS]) + more
    else:
        reason = (
            f"{len(results)} checks passed on {rows} rows of {snapshot.view} "
            f"version {snapshot.version}"
            + "".join(f"; {result.message}" for result in results if result.notable)
        )
    reason = "; ".join((reason, *snapshot.notes))
    return CheckReport(
        view=snapshot.view,
        version=snapshot.version,
        since=snapshot.since,
        passed=not failed,
        rows=rows,
        reason=reason,
        results=(*failed, *(result for result in results if result.passed)),
    )

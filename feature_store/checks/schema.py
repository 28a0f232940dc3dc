"""The check of names and types, from the log alone."""

from collections.abc import Iterator

from feature_store.checks.config import ChecksConfig, ExtraColumns
from feature_store.checks.report import CheckResult
from feature_store.snapshot import Snapshot
from feature_store.views import FeatureView


def named_columns(config: ChecksConfig, view: FeatureView) -> tuple[str, ...]:
    """Columns that the config names, which must exist."""
    shares = (column for column in (*config.nulls, *config.infinite) if column != "*")
    label = (view.label,) if config.label_classes and view.label else ()
    return tuple(dict.fromkeys((*shares, *config.ranges, *config.allowed, *label)))


def schema(
    config: ChecksConfig,
    view: FeatureView,
    declared: dict[str, str],
    found: dict[str, str],
    snapshot: Snapshot,
) -> Iterator[CheckResult]:
    """Compare the snapshot's columns with those recorded when the view was declared."""
    if not config.schema or not found:
        return
    version = f"version {snapshot.version}"
    broken = False
    for column, kind in declared.items():
        if column not in found:
            message = f"column {column}: missing in {version}, expected {kind}"
        elif found[column] != kind:
            message = f"column {column}: {found[column]} in {version}, expected {kind}"
        else:
            continue
        broken = True
        yield CheckResult(check="schema", column=column, passed=False, message=message)
    extra = [column for column in found if column not in declared]
    if config.extra_columns is ExtraColumns.FORBID:
        for column in extra:
            broken = True
            message = (
                f"column {column}: {found[column]} in {version}, not among the "
                f"{len(declared)} columns of {view.name}"
            )
            yield CheckResult(check="schema", column=column, passed=False, message=message)
    if not broken:
        yield CheckResult(
            check="schema",
            passed=True,
            figure=len(found),
            bound=len(declared),
            message=f"{len(declared)} columns of {view.name} as declared",
        )

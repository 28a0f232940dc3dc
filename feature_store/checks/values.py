"""The checks of values: what each line of config asks of its columns, and what to say of it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from feature_store.checks.allowed import Choice, as_column
from feature_store.checks.config import ChecksConfig, Range
from feature_store.checks.duplicates import repeated
from feature_store.checks.figures import Figures, Wanted, measure
from feature_store.checks.report import CheckResult
from feature_store.conversions import EVENT_TIME
from feature_store.views import FeatureView


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The rows under check."""

    view: FeatureView
    """Their view."""
    types: dict[str, str]
    """Column -> type, as the snapshot has them."""
    reported: frozenset[str]
    """Missing columns that another check has named already."""
    dataset: Any
    """A `pyarrow.dataset.Dataset` of the rows."""
    scope: str
    """What the rows are called in a sentence."""
    label: str | None = None
    """The column to predict."""
    mature_until: datetime | None = None
    """Labels of rows that are younger are not final, and not looked at; none: all are final."""
    older: Any = None
    """A dataset of the rows that were there before; none: there are none, or nobody asks."""

    def kind(self, column: str) -> Any:
        """The column's Arrow type."""
        return self.dataset.schema.field(column).type


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One check of one column: what it wants counted, and what to make of the figures."""

    column: str
    wanted: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[Figures], CheckResult]


def values(config: ChecksConfig, checked: Checked) -> Iterator[CheckResult]:
    """Look at nulls, infinities, ranges, allowed values, label classes and duplicates."""
    lines = [
        *_shares("nulls", config.nulls, checked),
        *_shares("infinite", config.infinite, checked),
        *_ranges(config, checked),
        *_allowed(config, checked),
        *_labels(config, checked),
    ]
    yield from (line for line in lines if isinstance(line, CheckResult))
    yield from _collapsed(_answers(lines, checked), config)
    yield from _duplicates(config, checked)


def matured(
    config: ChecksConfig, checked: Checked, *, now: datetime, delay: timedelta, whole: bool
) -> Iterator[CheckResult]:
    """Look at labels that were too young when their rows were new.

    - `checked`: older rows, which were checked before, when none was newer than the newest of them;
      `whole`: newer ones may be among them (compaction), so every mature label is looked at.
    """
    label, time = checked.label, checked.view.event_time
    if label is None or label not in checked.types:
        return
    bound = config.nulls.get(label, config.nulls.get("*"))
    listed = label in config.nulls or label in checked.view.columns
    nulls = {label: bound} if bound is not None and listed else {}
    classes = config.label_classes if label == checked.view.label else 0
    config = replace(config, nulls=nulls, label_classes=classes)
    moment = pc.field(time).cast(EVENT_TIME)
    among = moment <= _scalar(now - delay)
    newest = _newest(checked.dataset, time)
    # A row of the future says nothing about when the last check was.
    if not whole and newest is not None and newest.value <= _scalar(now).value:
        since = newest.value - delay // timedelta(microseconds=1)
        among &= moment > pa.scalar(since, EVENT_TIME)
    final = replace(checked, mature_until=None)
    lines = [*_shares("nulls", config.nulls, final), *_labels(config, final)]
    yield from (replace(found, older=True) for found in _answers(lines, final, among))


def _answers(
    lines: Iterable[_Line | CheckResult], checked: Checked, among: Any = None
) -> Iterator[CheckResult]:
    asked = [line for line in lines if isinstance(line, _Line)]
    wanted: dict[str, dict[str, Any]] = {}
    for line in asked:
        wanted.setdefault(line.column, {}).update(line.wanted)
    figures = measure(
        checked.dataset,
        {column: Wanted(**wants) for column, wants in wanted.items()},
        among=among,
        final=(checked.view.event_time, _final(checked)),
    )
    yield from (line.answer(figures[line.column]) for line in asked if figures[line.column].rows)


def _final(checked: Checked) -> Mapping[str, pa.Scalar]:
    """When the values of a column are final, where not all are: labels mature."""
    if checked.label is None or checked.mature_until is None:
        return {}
    return {checked.label: _scalar(checked.mature_until)}


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(round(moment.timestamp() * 1_000_000), EVENT_TIME)


def _newest(dataset: Any, time: str) -> pa.Scalar | None:
    found = (pc.max(batch.column(0)) for batch in dataset.to_batches(columns=[time]))
    times = [one.cast(EVENT_TIME) for one in found if one.is_valid]
    return max(times, key=lambda one: one.value, default=None)


def _collapsed(results: Iterator[CheckResult], config: ChecksConfig) -> Iterator[CheckResult]:
    """Tell of the columns that passed in one line for each bound, but for a few that were named."""
    swept: dict[tuple[str, float | None], list[CheckResult]] = {}
    named = {
        check: bounds if len(bounds) <= _FEW else {}
        for check, bounds in (("nulls", config.nulls), ("infinite", config.infinite))
    }
    for result in results:
        if result.passed and result.column not in named.get(result.check, {result.column}):
            swept.setdefault((result.check, result.bound), []).append(result)
        else:
            yield result
    for (check, bound), passed in swept.items():
        most = max(result.figure or 0.0 for result in passed)
        yield CheckResult(
            check=check,
            passed=True,
            figure=most,
            bound=bound,
            message=f"{len(passed)} columns: at most {_percent(most)} {_SHARES[check]}, "
            f"allowed {_percent(bound or 0.0)}",
        )


_FEW = 8
"""So many named columns have a line each where they pass."""

_SHARES = {"nulls": "null", "infinite": "infinite"}
"""The checks of shares, and the word for what is counted."""


def _shares(
    check: str, bounds: Mapping[str, float], checked: Checked
) -> Iterator[_Line | CheckResult]:
    named = {column: share for column, share in bounds.items() if column != "*"}
    others = checked.view.columns if "*" in bounds else ()
    if check == "infinite":
        others = tuple(c for c in others if c in checked.types and _may_be_infinite(c, checked))
    for column, bound in (dict.fromkeys(others, bounds.get("*", 0.0)) | named).items():
        if column not in checked.types:
            yield from _missing(check, column, checked)
            continue

        def answer(found: Figures, *, column: str = column, bound: float = bound) -> CheckResult:
            count = found.missing if check == "nulls" else found.infinite
            share = count / found.final if found.final else 0.0
            rows = f" ({count:,} of {found.final:,} rows)" if check == "infinite" and count else ""
            return CheckResult(
                check=check,
                column=column,
                passed=share <= bound,
                figure=share,
                bound=bound,
                message=f"column {column}: {_percent(share)} {_SHARES[check]} in "
                f"{_scope(column, checked, found)}{rows}, allowed {_percent(bound)}"
                if found.final
                else _immature(column, checked),
            )

        yield _Line(column=column, answer=answer)


def _may_be_infinite(column: str, checked: Checked) -> bool:
    kind = checked.kind(column)
    return bool(types.is_floating(kind.value_type if types.is_list(kind) else kind))


def _ranges(config: ChecksConfig, checked: Checked) -> Iterator[_Line | CheckResult]:
    for column, span in config.ranges.items():
        if column not in checked.types:
            yield from _missing("ranges", column, checked)
            continue
        kind = checked.kind(column)
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
            yield CheckResult(
                check="ranges",
                column=column,
                passed=False,
                message=f"column {column}: {kind} in {checked.scope}, allowed {_span(span)}",
            )
            continue

        def answer(found: Figures, *, column: str = column, span: Range = span) -> CheckResult:
            low = span.min is not None and found.least is not None and found.least < span.min
            figure, bound = (found.least, span.min) if low else (found.most, span.max)
            many = f" ({found.outside} of {found.rows} rows outside)" if found.outside else ""
            return CheckResult(
                check="ranges",
                column=column,
                passed=not found.outside,
                figure=_storable(figure),
                bound=_storable(bound),
                message=f"column {column}: {_seen(found)} in {checked.scope}, "
                f"allowed {_span(span)}{many}",
            )

        yield _Line(column=column, wanted={"span": span}, answer=answer)


def _allowed(config: ChecksConfig, checked: Checked) -> Iterator[_Line | CheckResult]:
    for column, choices in config.allowed.items():
        if column not in checked.types:
            yield from _missing("allowed", column, checked)
            continue

        def answer(
            found: Figures, *, column: str = column, choices: tuple[Choice, ...] = choices
        ) -> CheckResult:
            listed = ", ".join(str(choice) for choice in choices[:8])
            listed += ", ..." if len(choices) > 8 else ""
            seen = f"{found.example!r} in {found.others} of {found.rows} rows"
            return CheckResult(
                check="allowed",
                column=column,
                passed=not found.others,
                figure=found.others,
                bound=0,
                message=f"column {column}: {seen if found.others else 'nothing else'} of "
                f"{checked.scope}, allowed {listed}",
            )

        values = as_column(column, choices, checked.kind(column))
        yield _Line(column=column, wanted={"choices": values}, answer=answer)


def _labels(config: ChecksConfig, checked: Checked) -> Iterator[_Line | CheckResult]:
    label = checked.view.label
    if not config.label_classes or label is None:
        return
    if label not in checked.types:
        yield from _missing("label_classes", label, checked)
        return

    def answer(found: Figures) -> CheckResult:
        classes = len(found.classes)
        return CheckResult(
            check="label_classes",
            column=label,
            passed=classes >= config.label_classes or not found.final,
            figure=classes,
            bound=config.label_classes,
            message=f"column {label}: {classes} class{'' if classes == 1 else 'es'} in "
            f"{_scope(label, checked, found)}, at least {config.label_classes} needed"
            if found.final
            else _immature(label, checked),
        )

    yield _Line(column=label, wanted={"classes": True}, answer=answer)


def _duplicates(config: ChecksConfig, checked: Checked) -> Iterator[CheckResult]:
    if config.duplicates is None:
        return
    key = (*checked.view.entities, checked.view.event_time)
    absent = [column for column in key if column not in checked.types]
    if absent:
        yield from _missing("duplicates", absent[0], checked)
        return
    rows, twice, before = repeated(checked.dataset, checked.older, key, checked.view.event_time)
    share = twice / rows if rows else 0.0
    came = f" ({before:,} of {rows:,} rows came before)" if before else ""
    yield CheckResult(
        check="duplicates",
        passed=share <= config.duplicates,
        figure=share,
        bound=config.duplicates,
        message=f"columns {', '.join(key)}: {_percent(share)} duplicate keys in {checked.scope}"
        f"{came}, allowed {_percent(config.duplicates)}",
    )


def _missing(check: str, column: str, checked: Checked) -> Iterator[CheckResult]:
    if column not in checked.reported:
        yield CheckResult(
            check=check,
            column=column,
            passed=False,
            message=f"column {column}: missing in {checked.scope}",
        )


def _immature(column: str, checked: Checked) -> str:
    return f"column {column}: no label is mature yet in {checked.scope}"


def _scope(column: str, checked: Checked, found: Figures) -> str:
    """What the rows are called whose values of the column are final."""
    if column != checked.label or found.final == found.rows:
        return checked.scope
    return f"{checked.scope} that are mature ({found.rows - found.final} are not yet)"


def _span(span: Range) -> str:
    low, high = _storable(span.min), _storable(span.max)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"at least {low:g}"
    return "anything" if high is None else f"at most {high:g}"


def _seen(found: Figures) -> str:
    none = found.least is None
    return "nothing" if none else f"{_plain(found.least)} to {_plain(found.most)}"


def _plain(number: Any) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _storable(number: Any) -> float | None:
    """A number for the report, which holds none that is infinite."""
    return float(number) if number is not None and math.isfinite(number) else None


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if 0 < share < 0.001 else f"{100 * share:.1f} %"

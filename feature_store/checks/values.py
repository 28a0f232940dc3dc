"""The checks of values: one streaming pass of duckdb over the columns that are needed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from feature_store.checks.config import ChecksConfig, Range
from feature_store.checks.report import CheckResult
from feature_store.errors import InvalidConfig
from feature_store.views import FeatureView

_NUMBERS = ("int", "float", "double", "decimal")
_FLOATS = ("float", "double")


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


@dataclass(frozen=True, kw_only=True)
class _Question:
    """SQL aggregates over the rows, and what to make of the figures (after the row count)."""

    aggregates: tuple[str, ...]
    answer: Callable[..., CheckResult]


def values(config: ChecksConfig, checked: Checked) -> Iterator[CheckResult]:
    """Look at nulls, ranges, allowed values, label classes and duplicates."""
    import duckdb

    questions: list[_Question] = []
    for asked in (
        *_nulls(config, checked),
        *_ranges(config, checked),
        *_allowed(config, checked),
        *_labels(config, checked),
    ):
        if isinstance(asked, CheckResult):
            yield asked
        else:
            questions.append(asked)
    with duckdb.connect() as connection:
        connection.register("checked", checked.dataset)
        yield from _collapsed(_ask(connection, questions), config)
        yield from _duplicates(connection, config, checked)


def matured(
    config: ChecksConfig, checked: Checked, *, now: datetime, delay: timedelta, whole: bool
) -> Iterator[CheckResult]:
    """Look at labels that were too young when their rows were new.

    - `checked`: older rows, which were checked before, when none was newer than the newest of them;
      `whole`: newer ones may be among them (compaction), so every mature label is looked at.
    """
    import duckdb

    label = checked.label
    if label is None or label not in checked.types:
        return
    bound = config.nulls.get(label, config.nulls.get("*"))
    listed = label in config.nulls or label in checked.view.columns
    config = replace(
        config,
        nulls={label: bound} if bound is not None and listed else {},
        label_classes=config.label_classes if label == checked.view.label else 0,
    )
    time = _microseconds(checked)
    until = _epoch(now - delay)
    with duckdb.connect() as connection:
        connection.register("checked", checked.dataset)
        among = f"{time} <= {until}"
        ((newest,),) = connection.execute(f"SELECT max({time}) FROM checked").fetchall()
        # A row of the future says nothing about when the last check was.
        if not whole and newest is not None and newest <= _epoch(now):
            among += f" AND {time} > {newest - delay // timedelta(microseconds=1)}"
        final = replace(checked, mature_until=None)
        asked = (*_nulls(config, final), *_labels(config, final))
        questions = [question for question in asked if isinstance(question, _Question)]
        yield from (replace(found, older=True) for found in _ask(connection, questions, among))


def _ask(
    connection: Any, questions: Sequence[_Question], among: str = "true"
) -> Iterator[CheckResult]:
    if not questions:
        return
    aggregates = [a for question in questions for a in question.aggregates]
    query = f"SELECT count(*), {', '.join(aggregates)} FROM checked WHERE {among}"
    rows, *figures = connection.execute(query).fetchone()
    if not rows:
        return
    at = 0
    for question in questions:
        after = at + len(question.aggregates)
        yield question.answer(rows, *figures[at:after])
        at = after


def _collapsed(results: Iterator[CheckResult], config: ChecksConfig) -> Iterator[CheckResult]:
    """Tell of the columns that passed under "*" in one line."""
    swept = []
    for result in results:
        if result.check == "nulls" and result.passed and result.column not in config.nulls:
            swept.append(result)
        else:
            yield result
    if swept:
        most = max(swept, key=lambda result: result.figure or 0.0)
        yield CheckResult(
            check="nulls",
            passed=True,
            figure=most.figure,
            bound=most.bound,
            message=f"{len(swept)} columns: at most {_percent(most.figure or 0.0)} null, "
            f"allowed {_percent(most.bound or 0.0)}",
        )


def _nulls(config: ChecksConfig, checked: Checked) -> Iterator[_Question | CheckResult]:
    bounds = {c: share for c, share in config.nulls.items() if c != "*"}
    if "*" in config.nulls:
        bounds = dict.fromkeys(checked.view.columns, config.nulls["*"]) | bounds
    for column, bound in bounds.items():
        if column not in checked.types:
            yield from _missing("nulls", column, checked)
            continue

        def answer(
            rows: int, final: int, nulls: int, *, column: str = column, bound: float = bound
        ) -> CheckResult:
            share = nulls / final if final else 0.0
            return CheckResult(
                check="nulls",
                column=column,
                passed=share <= bound,
                figure=share,
                bound=bound,
                message=f"column {column}: {_percent(share)} null in "
                f"{_scope(column, checked, rows - final)}, allowed {_percent(bound)}"
                if final
                else _immature(column, checked),
            )

        final = _final(column, checked)
        yield _Question(
            aggregates=(
                f"count(*) FILTER ({final})",
                f"count(*) FILTER ({final} AND NOT ({_present(column, checked)}))",
            ),
            answer=answer,
        )


def _ranges(config: ChecksConfig, checked: Checked) -> Iterator[_Question | CheckResult]:
    for column, span in config.ranges.items():
        if column not in checked.types:
            yield from _missing("ranges", column, checked)
            continue
        kind = checked.types[column]
        if not kind.startswith(_NUMBERS):
            yield CheckResult(
                check="ranges",
                column=column,
                passed=False,
                message=f"column {column}: {kind} in {checked.scope}, allowed {_span(span)}",
            )
            continue

        def answer(
            rows: int,
            least: Any,
            most: Any,
            outside: int,
            *,
            column: str = column,
            span: Range = span,
        ) -> CheckResult:
            low = span.min is not None and least is not None and least < span.min
            figure, bound = (least, span.min) if low else (most, span.max)
            many = f" ({outside} of {rows} rows outside)" if outside else ""
            seen = "nothing" if least is None else f"{least:g} to {most:g}"
            return CheckResult(
                check="ranges",
                column=column,
                passed=not outside,
                figure=None if figure is None else float(figure),
                bound=bound,
                message=f"column {column}: {seen} in {checked.scope}, allowed {_span(span)}{many}",
            )

        present, name = _present(column, checked), _quoted(column)
        beyond = [f"{name} < {span.min!r}"] if span.min is not None else []
        beyond += [f"{name} > {span.max!r}"] if span.max is not None else []
        yield _Question(
            aggregates=(
                f"min({name}) FILTER ({present})",
                f"max({name}) FILTER ({present})",
                f"count(*) FILTER ({present} AND ({' OR '.join(beyond) or 'false'}))",
            ),
            answer=answer,
        )


def _allowed(config: ChecksConfig, checked: Checked) -> Iterator[_Question | CheckResult]:
    for column, choices in config.allowed.items():
        if column not in checked.types:
            yield from _missing("allowed", column, checked)
            continue

        def answer(
            rows: int,
            outside: int,
            example: str | None,
            *,
            column: str = column,
            choices: tuple[str | int | bool, ...] = choices,
        ) -> CheckResult:
            listed = ", ".join(str(choice) for choice in choices[:8])
            listed += ", ..." if len(choices) > 8 else ""
            seen = f"{example!r} in {outside} of {rows} rows" if outside else "nothing else"
            return CheckResult(
                check="allowed",
                column=column,
                passed=not outside,
                figure=outside,
                bound=0,
                message=f"column {column}: {seen} of {checked.scope}, allowed {listed}",
            )

        name, other = _quoted(column), _other(column, choices, checked.types[column])
        where = f"FILTER ({_present(column, checked)} AND {other})"
        yield _Question(
            aggregates=(f"count(*) {where}", f"min(CAST({name} AS VARCHAR)) {where}"),
            answer=answer,
        )


def _labels(config: ChecksConfig, checked: Checked) -> Iterator[_Question | CheckResult]:
    label = checked.view.label
    if not config.label_classes or label is None:
        return
    if label not in checked.types:
        yield from _missing("label_classes", label, checked)
        return

    def answer(rows: int, final: int, classes: int) -> CheckResult:
        return CheckResult(
            check="label_classes",
            column=label,
            passed=classes >= config.label_classes or not final,
            figure=classes,
            bound=config.label_classes,
            message=f"column {label}: {classes} class{'' if classes == 1 else 'es'} in "
            f"{_scope(label, checked, rows - final)}, at least {config.label_classes} needed"
            if final
            else _immature(label, checked),
        )

    final = _final(label, checked)
    among = f"FILTER ({final} AND {_present(label, checked)})"
    yield _Question(
        aggregates=(f"count(*) FILTER ({final})", f"count(DISTINCT {_quoted(label)}) {among}"),
        answer=answer,
    )


def _duplicates(connection: Any, config: ChecksConfig, checked: Checked) -> Iterator[CheckResult]:
    if config.duplicates is None:
        return
    key = (*checked.view.entities, checked.view.event_time)
    absent = [column for column in key if column not in checked.types]
    if absent:
        yield from _missing("duplicates", absent[0], checked)
        return
    listed = ", ".join(_quoted(column) for column in key)
    distinct, rows = connection.execute(
        f"SELECT count(*), sum(n) FROM (SELECT count(*) AS n FROM checked GROUP BY {listed})"
    ).fetchone()
    share = 1 - distinct / int(rows) if rows else 0.0
    yield CheckResult(
        check="duplicates",
        passed=share <= config.duplicates,
        figure=share,
        bound=config.duplicates,
        message=f"columns {', '.join(key)}: {_percent(share)} duplicate keys in {checked.scope}, "
        f"allowed {_percent(config.duplicates)}",
    )


def _missing(check: str, column: str, checked: Checked) -> Iterator[CheckResult]:
    if column not in checked.reported:
        yield CheckResult(
            check=check,
            column=column,
            passed=False,
            message=f"column {column}: missing in {checked.scope}",
        )


def _present(column: str, checked: Checked) -> str:
    name = _quoted(column)
    if checked.types[column].startswith(_FLOATS):
        return f"{name} IS NOT NULL AND NOT isnan({name})"
    return f"{name} IS NOT NULL"


def _final(column: str, checked: Checked) -> str:
    """Say in SQL that a row is old enough for its value to be final: labels mature."""
    if column != checked.label or checked.mature_until is None:
        return "true"
    return f"{_microseconds(checked)} <= {_epoch(checked.mature_until)}"


def _microseconds(checked: Checked) -> str:
    """Say in SQL how many microseconds after 1970 a row's event was."""
    time = _quoted(checked.view.event_time)
    if "tz=" in checked.types.get(checked.view.event_time, ""):
        time = f"CAST({time} AS TIMESTAMPTZ)"  # of nanoseconds, there is no epoch_us
    return f"epoch_us({time})"


def _epoch(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _immature(column: str, checked: Checked) -> str:
    return f"column {column}: no label is mature yet in {checked.scope}"


def _scope(column: str, checked: Checked, immature: int) -> str:
    """What the rows are called whose values of the column are final."""
    if column != checked.label or not immature:
        return checked.scope
    return f"{checked.scope} that are mature ({immature} are not yet)"


def _other(column: str, choices: tuple[str | int | bool, ...], kind: str) -> str:
    """Say in SQL that a value is none of the choices: as numbers in a number column, else text."""
    name = _quoted(column)
    if not choices:
        return "true"
    if kind.startswith(_NUMBERS):
        try:
            return f"{name} NOT IN ({', '.join(repr(float(choice)) for choice in choices)})"
        except ValueError as error:
            raise InvalidConfig(
                f"checks.allowed.{column}: the column is {kind}; {error}",
                hint="list numbers for a number column",
            ) from error
    texts = [str(c).lower() if isinstance(c, bool) else str(c) for c in choices]
    literals = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
    return f"CAST({name} AS VARCHAR) NOT IN ({literals})"


def _span(span: Range) -> str:
    if span.min is not None and span.max is not None:
        return f"{span.min:g} to {span.max:g}"
    if span.min is not None:
        return f"at least {span.min:g}"
    return "anything" if span.max is None else f"at most {span.max:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'

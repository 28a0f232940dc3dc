"""The checks of values: one streaming pass of duckdb over the columns that are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from feature_store.checks.config import ChecksConfig, Range
from feature_store.checks.report import CheckResult
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
    dataset: Any
    """A `pyarrow.dataset.Dataset` of the rows."""
    rows: int
    """How many they are, as the log says; more than none."""
    scope: str
    """What they are called in a sentence."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """An expression for the one pass over the rows, and what to make of its answer."""

    check: str
    column: str
    expressions: tuple[str, ...]
    bound: float | None = None
    span: Range = Range()
    swept: bool = False


def values(config: ChecksConfig, checked: Checked) -> Iterator[CheckResult]:
    """Look at nulls, ranges, allowed values, label classes and duplicates."""
    import duckdb

    questions: list[_Question] = []
    for question in (
        *_nulls(config, checked),
        *_ranges(config, checked),
        *_allowed(config, checked),
        *_labels(config, checked),
    ):
        if isinstance(question, CheckResult):
            yield question
        else:
            questions.append(question)
    with duckdb.connect() as connection:
        connection.register("checked", checked.dataset)
        expressions = [e for question in questions for e in question.expressions]
        figures: Sequence[Any] = ()
        if expressions:
            figures = connection.execute(f"SELECT {', '.join(expressions)} FROM checked").fetchone() or ()
        yield from _results(questions, figures, checked)
        if config.duplicates is not None:
            yield _duplicates(connection, config.duplicates, checked)

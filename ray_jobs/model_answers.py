"""What a model says of rows, also where it cannot take some of them.

A model that has no answer for a row is wrong there: its usual answer (the mean, or the most
frequent class, over the rows that it takes) stands in, so that the other rows still judge. Rows
are looked for by what is odd about them: a text that the training rows did not have, a missing or
an infinite value; what these do not explain, by halves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_jobs.trainers.scoring import predictions
from ray_jobs.training_errors import UnfitData, first_line, users_line
from registry import LoadedModel
from registry.errors import UnfitColumn
from registry.inputs import Kind, inferred, is_text, plain

Predictions = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

ODD_VALUES = 20
"""Of each column, so many odd values are looked at one by one."""
TRIED_ROWS = 3
"""A value is to blame when the model takes none of so many rows with it."""
CALLS = 300
"""Rows that no value explains are looked for with so many calls at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """A model's predictions, and what they rest on."""

    predictions: Predictions
    taken: Mask
    """Rows that it can take."""
    notes: tuple[str, ...] = ()
    """Which rows it cannot take: column, value and count."""


@dataclass(kw_only=True)
class _Asked:
    """One model and the rows that it is asked about."""

    model: LoadedModel
    rows: pa.Table
    calls: int = 0
    error: Exception | None = None
    """What it raised last."""

    def of(self, places: npt.NDArray[np.int64]) -> Predictions | None:
        """What it says of some rows; None when it cannot."""
        self.calls += 1
        try:
            return predictions(self.model, self.rows.take(pa.array(places)))
        except Exception as error:  # whatever a library or a user's own code raises on them
            self.error = error
            return None


@dataclass(kw_only=True)
class _Sorted:
    """Rows by whether a model takes them."""

    taken: list[tuple[npt.NDArray[np.int64], Predictions]] = field(default_factory=list)
    refused: list[npt.NDArray[np.int64]] = field(default_factory=list)


def answers(model: LoadedModel, rows: pa.Table, who: str) -> Answers:
    """What the model says of the rows. Raises UnfitData when it can take none of them."""
    asked = _Asked(model=model, rows=rows)
    every = np.arange(rows.num_rows)
    said = asked.of(every)
    if said is not None:
        return Answers(predictions=said, taken=np.ones(rows.num_rows, dtype=bool))
    blamed, words = np.zeros(rows.num_rows, dtype=bool), []
    found = list(_oddities(model, rows))
    how_odd = sum((mask.astype(np.int64) for _, mask in found), np.zeros(rows.num_rows, np.int64))
    for text, mask in found:
        places = np.flatnonzero(mask)
        tried = places[np.argsort(how_odd[places], kind="stable")][:TRIED_ROWS]
        if all(asked.of(np.array([place])) is None for place in tried):
            blamed |= mask
            words.append(f"{text} ({int(mask.sum()):,} of {rows.num_rows:,} rows)")
    parts = _Sorted()
    _sort(asked, np.flatnonzero(~blamed), parts)
    if not parts.taken:
        raise _refused(model, rows, who, asked.error, words)
    unexplained = sum(len(places) for places in parts.refused)
    if unexplained:
        reason = _reason(asked.error)
        words.append(f"{unexplained:,} of {rows.num_rows:,} rows ({reason})")
    filled = _filled(rows.num_rows, parts)
    return Answers(
        predictions=filled,
        taken=np.isin(every, np.concatenate([places for places, _ in parts.taken])),
        notes=(
            f"The {who}, version {model.version}, cannot take {'; '.join(words)}: "
            "its usual answer stands for them",
        ),
    )


def _sort(asked: _Asked, places: npt.NDArray[np.int64], parts: _Sorted) -> None:
    """Which of the rows are taken: all together, else by halves, until the calls are used up."""
    if not len(places):
        return
    said = asked.of(places)
    if said is not None:
        parts.taken.append((places, said))
    elif len(places) == 1 or asked.calls >= CALLS:
        parts.refused.append(places)
    else:
        half = len(places) // 2
        _sort(asked, places[:half], parts)
        _sort(asked, places[half:], parts)


def _filled(count: int, parts: _Sorted) -> Predictions:
    """Predictions of all rows: the usual one where there is none."""
    said = np.concatenate([values for _, values in parts.taken])
    if said.dtype.kind == "f":
        usual = said.mean(axis=0)
    else:
        values, counts = np.unique(said, return_counts=True)
        usual = values[counts.argmax()]
    filled = np.empty((count, *said.shape[1:]), dtype=said.dtype)
    filled[:] = usual
    filled[np.concatenate([places for places, _ in parts.taken])] = said
    return filled


def _oddities(model: LoadedModel, rows: pa.Table) -> Iterator[tuple[str, Mask]]:
    """What is odd about some rows, in words, and which rows they are."""
    for column in model.card.columns or inferred(rows, model.features):
        if column.name not in rows.column_names:
            continue
        values = plain(rows[column.name])
        if pa.types.is_floating(values.type):
            yield from _with(f"column {column.name}: infinite", pc.is_inf(values))
        yield from _with(f"column {column.name}: missing", pc.is_null(values, nan_is_null=True))
        if column.kind is Kind.NUMBER or not is_text(values.type):
            continue
        known = pa.array(column.categories, pa.large_string())
        others = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=known)))
        different = pc.value_counts(values.filter(others).combine_chunks())
        pairs = sorted(different.to_pylist(), key=lambda pair: -pair["counts"])
        for pair in pairs[:ODD_VALUES]:
            text = pair["values"] if len(pair["values"]) <= 80 else f"{pair['values'][:80]}..."
            yield from _with(f"column {column.name}: {text!r}", pc.equal(values, pair["values"]))


def _with(text: str, mask: pa.ChunkedArray) -> Iterator[tuple[str, Mask]]:
    found = np.asarray(pc.fill_null(mask, False).to_numpy(), dtype=np.bool_)
    if found.any():
        yield text, found


def _refused(
    model: LoadedModel, rows: pa.Table, who: str, error: Exception | None, words: list[str]
) -> UnfitData:
    # A column of another type than in training is no matter of single values.
    about = f": {'; '.join(words)}" if words and not isinstance(error, UnfitColumn) else ""
    return UnfitData(
        f"the {who}, version {model.version} of {model.model}, can take none of the "
        f"{rows.num_rows:,} held-out rows{about}: {_reason(error)}",
        hint="compare their columns with those of earlier versions (ratchet features show); where "
        f"the rows are as they should be: ratchet rollback {model.model}",
    )


def _reason(error: Exception | None) -> str:
    return "it fails" if error is None else f"{first_line(error)}{users_line(error)}"

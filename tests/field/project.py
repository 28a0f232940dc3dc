"""A team's folder, empty but for a few lines of config, and `ratchet` typed in it.

`tests/field` holds small inputs as people have them, each from `features create` to a verdict or to
one line that says what is wrong. A report from outside becomes a case here: a few rows made up, the
commands as they were typed, and the value or the words that are right. A night costs two seconds on
the Ray and the worker process that all cases share; a case that ends at the append costs less.
"""

from __future__ import annotations

import json
import textwrap
from contextlib import chdir
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from typer.testing import CliRunner

from flows.cli.app import app

CONFIG = """
    defaults: [ratchet, _self_]
    home: {home}
    allowed_modules: [{modules}]
    """
VIEW = """
    view: churn
    label: left
    columns: []
    holdout: {fraction: 0.3, min_rows: 40}
    """
NIGHT = (
    "run",
    "retrain",
    "features=churn",
    "gate=single_night",
    "gate.planned=12",
    "gate.min_rows=40",
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command came to."""

    code: int
    text: str

    @property
    def refused(self) -> bool:
        """Whether it was refused in one line, with the next step where there is one."""
        lines = self.text.strip().splitlines()
        told = [line for line in lines if not line.startswith("  next: ")]
        return self.code in (1, 2) and len(told) == 1 and told[0].startswith("error: ")

    def says(self, *words: str) -> bool:
        """Whether all of the words are in its output."""
        return all(word in self.text for word in words)


@dataclass(frozen=True)
class Project:
    """A folder in which somebody types commands."""

    folder: Path
    home: Path
    modules: list[str] = field(default_factory=list)

    def configure(self) -> None:
        """Write the config, which names the modules that there are."""
        self.write(
            "conf/config.yaml", CONFIG.format(home=self.home, modules=", ".join(self.modules))
        )

    def write(self, name: str, text: str) -> None:
        """A file of the project; a Python module may be named in the config from then on.

        A module needs a name of its own: Ray's workers serve all cases, and import it once.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
        if path.suffix == ".py":
            self.modules.append(path.stem)
            self.configure()

    def ratchet(self, *words: str) -> Answer:
        """Type a command."""
        with chdir(self.folder):
            done = CliRunner().invoke(app, list(words), prog_name="ratchet")
        crash = f"\n{done.exception!r}" if done.exception and not _is_exit(done) else ""
        return Answer(code=done.exit_code, text=done.output + crash)

    def save(self, rows: pa.Table | str, name: str = "rows") -> str:
        """The rows in a file, text as CSV; its name."""
        if isinstance(rows, str):
            (self.folder / f"{name}.csv").write_text(rows)
            return f"{name}.csv"
        pq.write_table(rows, self.folder / f"{name}.parquet")
        return f"{name}.parquet"

    def create(self, rows: pa.Table | str, *options: str) -> Answer:
        """`ratchet features create churn FILE`."""
        named = ("--entity", "customer", "--event-time", "at", "--label", "left")
        return self.ratchet("features", "create", "churn", self.save(rows), *named, *options)

    def append(self, rows: pa.Table | str, *options: str) -> Answer:
        """`ratchet features append churn FILE`."""
        return self.ratchet("features", "append", "churn", self.save(rows), *options)

    def night(self, *overrides: str, trainer: str = "logistic") -> Answer:
        """One run of the training loop."""
        return self.ratchet(*NIGHT, f"trainer={trainer}", *overrides)

    def stored(self) -> pa.Table:
        """All rows of the view, as they lie in its table."""
        return DeltaTable(self.table).to_pyarrow_table()

    @property
    def table(self) -> str:
        """Where the view's Delta table lies."""
        return str(self.home / "features" / "churn")

    def json(self, *words: str) -> Any:
        """What a command with --json prints."""
        return json.loads(self.ratchet(*words, "--json").text)

    def attempts(self, task: str) -> int:
        """How often a task of the newest run was tried."""
        (newest, *_) = self.json("runs")
        attempts = self.json("show", newest["id"])["attempts"]
        return sum(one["task"] == task for one in attempts)


def _is_exit(done: Any) -> bool:
    return isinstance(done.exception, SystemExit)


def day(number: int, rows: int = 400, **columns: Any) -> pa.Table:
    """The rows of one day; `columns` are added, or take the place of its own."""
    draw = np.random.default_rng(number)
    amount, ratio, visits = draw.normal(size=(3, rows))
    left = (amount - ratio + draw.normal(scale=0.5, size=rows) > 0).astype("int64")
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    at = [begin + timedelta(minutes=3 * row) for row in range(rows)]
    made: dict[str, Any] = {
        "customer": [f"c{number:03}-{row:05}" for row in range(rows)],
        "at": pa.array(at, pa.timestamp("us", "UTC")),
        "amount": amount,
        "ratio": ratio,
        "visits": visits,
        "left": left,
    }
    return pa.table(made | columns)


def with_values(table: pa.Table, column: str, values: dict[int, Any]) -> pa.Table:
    """The table with some rows of a column replaced."""
    held = table[column].to_pylist()
    for row, value in values.items():
        held[row] = value
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.array(held, table[column].type))

"""Five nights of a training loop, on real data: `ratchet demo`, and `make demo`.

scikit-learn's handwritten digits arrive in the feature store in dated batches; after each,
the retrain flow runs as it would at 3 a.m. The demo ends well only if each night ended as
it should.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

import feature_store
import registry
from feature_store import FeatureView
from flows.adapters.alerts import tell
from flows.bootstrap import Ratchet, open_project
from flows.config import kept
from flows.core.errors import Refused, StoreError
from flows.core.masking import mask
from flows.core.records import Run, RunStatus
from flows.core.store import Store
from flows.retrain import retrain
from flows.settings import Settings, revealed
from registry import LedgerEntry

MODEL = "digits"
OVERRIDES = (
    "features=digits",
    "trainer=logistic",
    # Five nights of digits are too few for evidence to add up: each challenger gets one test, at
    # a twelfth of the year's alpha.
    "gate=single_night",
    "gate.planned=12",
    "features.holdout.fraction=0.3",
    "features.holdout.min_rows=40",
    "gate.min_rows=40",
    "gate.floors={accuracy: 0.7}",
)
FIRST_NIGHT = datetime(2026, 3, 1, tzinfo=UTC)
PIXELS = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
VIEW = FeatureView(
    name=MODEL, entities=("image_id",), event_time="taken_at", features=PIXELS, label="digit"
)
MARKER = "DEMO"
LOOKED_AROUND = ("ratchet.db", "ledger.db", kept.FOLDER)
"""How the names of files begin that commands leave which only look."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """One night: what arrives, and how the run must end."""

    number: int
    arrives: str  # for people
    batch: Callable[[], pa.Table] | None
    expected: RunStatus
    says: str  # must stand in the run's reason; empty: anything


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a night ended."""

    night: Night
    run: Run
    seconds: float

    @property
    def as_it_should(self) -> bool:
        """Whether it ended as the night must."""
        said = self.night.says in (self.run.reason or "")
        return self.run.status is self.night.expected and said


def main(project: Path, home: Path, console: Console) -> int:
    """Run the five nights in `home`; 0 when each ended as it should, else 1.

    Raises:
        Refused: `home` holds a project's own runs, which the demo never touches.
    """
    begun = time.monotonic()
    _fresh(home)
    ratchet = open_project(project, [f"home={home}"])
    console.print("[bold]Five nights of a training loop[/], on scikit-learn's handwritten digits\n")
    outcomes = []
    with ratchet.engine() as engine:
        for night in nights():
            console.print(f"[bold]Night {night.number}[/]  {night.arrives}")
            outcome = _spend(night, ratchet, engine.run_until_ended)
            outcomes.append(outcome)
            _report(outcome, console)
            if outcome.run.status is RunStatus.HALTED:
                tell(ratchet.courier(), outcome.run.id, ratchet.clock.now())
                console.print(f"         alert written to {ratchet.home / 'alerts.jsonl'}")
    _summary(outcomes, ratchet, console, time.monotonic() - begun)
    ratchet.close()
    return 0 if all(outcome.as_it_should for outcome in outcomes) else 1


def nights() -> tuple[Night, ...]:
    """The story: what arrives on each night, and how it must end."""
    images, labels = _digits()
    batches = np.split(np.arange(len(labels)), [160, 1060, 1660])
    wrong = labels.copy()
    spoiled = batches[2][:100]  # a labelling tool that was off by one until four in the morning
    wrong[spoiled] = (wrong[spoiled] + 1) % 10

    def rows(night: int, digits: Any) -> Callable[[], pa.Table]:
        return lambda: _table(batches[night - 1], images, digits, night)

    def renamed() -> pa.Table:
        table = rows(4, labels)()
        return table.rename_columns([n.replace("pixel_3_4", "px_3_4") for n in table.column_names])

    return (
        Night(number=1, arrives="160 images: the first model", batch=rows(1, labels),
              expected=RunStatus.SUCCEEDED, says=""),
        Night(number=2, arrives="900 more images", batch=rows(2, labels),
              expected=RunStatus.SUCCEEDED, says=""),
        Night(number=3, arrives="600 images, the first 100 mislabelled", batch=rows(3, wrong),
              expected=RunStatus.HALTED, says="accuracy"),
        Night(number=4, arrives="137 images, a column renamed upstream", batch=renamed,
              expected=RunStatus.HALTED, says="px_3_4"),
        Night(number=5, arrives="nothing", batch=None,
              expected=RunStatus.SKIPPED, says="no new data"),
    )  # fmt: skip


def _spend(night: Night, ratchet: Ratchet, drive: Callable[[list[str]], None]) -> Outcome:
    """The batch arrives, and the flow runs."""
    begun = time.monotonic()
    store = feature_store.connect(revealed(ratchet.settings.feature_store))
    if night.number == 1:
        store.create(VIEW)
    if night.batch is not None:
        key = f"night-{night.number}"
        store.append(VIEW.name, night.batch(), key=key, merge_schema=night.number == 4)
    trigger = {"kind": "demo", "night": night.number}
    run = ratchet.start(retrain, OVERRIDES, trigger=trigger, key=f"night-{night.number}")
    drive([run.id])
    ended = ratchet.service.find(run.id)
    return Outcome(night=night, run=ended, seconds=time.monotonic() - begun)


def _report(outcome: Outcome, console: Console) -> None:
    run = outcome.run
    colour = {RunStatus.SUCCEEDED: "green", RunStatus.HALTED: "yellow", RunStatus.SKIPPED: "cyan"}
    style = colour.get(run.status, "red")
    reason = f": {run.reason}" if run.reason else ": the challenger was promoted"
    console.print(f"         [{style}]{run.status}[/]{reason}  [dim]{outcome.seconds:.1f} s[/]")
    if not outcome.as_it_should:
        console.print(f"         [red]expected {outcome.night.expected} {outcome.night.says}[/]")


def _summary(outcomes: list[Outcome], ratchet: Ratchet, console: Console, seconds: float) -> None:
    table = Table(title="The five nights", title_justify="left", box=None, pad_edge=False)
    for column in ("night", "arrived", "ended", "why", "s"):
        table.add_column(column, overflow="fold")
    for o in outcomes:
        why = o.run.reason or "promoted"
        table.add_row(str(o.night.number), o.night.arrives, o.run.status, why, f"{o.seconds:.1f}")
    console.print()
    console.print(table)
    console.print()
    console.print(_ledger(registry.connect(revealed(ratchet.settings.registry)).entries(MODEL)))
    console.print(_next_steps(ratchet.settings))
    console.print(f"[dim]{seconds:.1f} s in all[/]")


def _ledger(entries: tuple[LedgerEntry, ...]) -> Table:
    table = Table(title="The ledger", title_justify="left", box=None, pad_edge=False)
    for column in ("epoch", "action", "version", "why", "hash"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        row = (str(entry.epoch), entry.action, f"v{entry.version}", entry.reason, entry.hash[:12])
        table.add_row(*row)
    return table


def _next_steps(settings: Settings) -> str:
    tracking = mask(settings.registry.tracking_uri)
    return f"""
Next:
  ratchet runs                           the nights as runs
  ratchet show last                      what the last one did, task by task
  ratchet champion {MODEL}                which model is live
  ratchet ledger {MODEL} --verify         how it came to be, hash by hash
  ratchet rollback {MODEL} --reason ...   one model back
  mlflow ui --backend-store-uri {tracking}
"""


def _fresh(home: Path) -> None:
    """An empty home that says whose it is; an earlier demo's is kept once, beside it."""
    if home.exists() and not _is_unused(home):
        if not (home / MARKER).exists():
            raise Refused(
                f"{home} holds runs of a real project, which the demo would mix with its own",
                hint="run it elsewhere: ratchet --home demo-home demo",
            )
        previous = home.with_name(f"{home.name}.previous")
        if (previous / MARKER).exists():
            shutil.rmtree(previous)
        home.rename(previous)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARKER).write_text("Made by `ratchet demo`, and replaced by the next one.\n")


def _is_unused(home: Path) -> bool:
    """Nothing there, or no more than what looking around leaves: a state store without a run."""
    if any(not path.name.startswith(LOOKED_AROUND) for path in home.iterdir()):
        return False
    if not (home / "ratchet.db").exists():
        return True
    try:
        store = Store.open(f"sqlite:///{home / 'ratchet.db'}")
    except StoreError:
        return False
    with closing(store):
        return not store.reads.runs(limit=1)


def _digits() -> tuple[Any, Any]:
    # scikit-learn takes a second to import, which only the demo has to wait for.
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order], labels[order]


def _table(rows: Any, images: Any, labels: Any, night: int) -> pa.Table:
    """A night's batch: one image every few seconds of its day."""
    day = FIRST_NIGHT + timedelta(days=night - 1)
    step = timedelta(days=1) / (len(rows) + 1)
    times = pa.array([day + step * i for i in range(len(rows))], pa.timestamp("us", "UTC"))
    columns = {"image_id": pa.array(rows), "taken_at": times, "digit": pa.array(labels[rows])}
    columns |= {name: pa.array(images[rows, i]) for i, name in enumerate(PIXELS)}
    return pa.table(columns)

"""What a challenger costs to serve, measured beside the champion on the rows that judge both.

Only what the config bounds is measured, and only of a challenger that would be promoted otherwise.
Latency is the time of one core: the clock counts what the processor does for the process, and
predictions get one thread, so that a busy machine does not decide. A slow model is timed on fewer
rows and in fewer rounds: timing ends after a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from ray_jobs.memory import NotMeasured, added_mb
from ray_jobs.trainers.scoring import predictions
from registry import LoadedModel, Registry, RegistryError, RuleResult
from registry.costs import MEGABYTE, Costs, cost_rules, times
from registry.gate_config import CostConfig

Clock = Callable[[], float]
"""Seconds, from whenever."""

ROWS = 1000
"""Rows of a round; held-out rows are repeated up to it."""
FEW = 50
"""Rows that are predicted first: they warm up, and tell how many are affordable."""
ROUNDS = 21
SECONDS = 4.0
"""No round begins later; a round takes a tenth of it at most, where 50 rows do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A model, and rows with the features that it knows."""

    model: LoadedModel
    rows: pa.Table


@dataclass(kw_only=True)
class Bills:
    """What each version was found to cost; each is measured once."""

    config: CostConfig
    registered: Registry
    modules: tuple[str, ...] = ()
    rules: dict[str, tuple[RuleResult, ...]] = field(default_factory=dict)

    def of(self, challenger: Served, champion: Served | None) -> tuple[RuleResult, ...]:
        """The challenger held against each bound."""
        version = challenger.model.version
        if version not in self.rules:
            self.rules[version] = self._measured(challenger, champion)
        return self.rules[version]

    def _measured(self, challenger: Served, champion: Served | None) -> tuple[RuleResult, ...]:
        own = Costs(size_mb=challenger.model.bytes / MEGABYTE)
        theirs = None if champion is None else Costs()
        if times(self.config):
            both = [challenger] if champion is None else [challenger, champion]
            with _one_thread():
                rows, rounds = side_by_side([_predictor(each) for each in both])
            own = replace(own, rows=rows, rounds_ms=rounds[0])
            theirs = None if champion is None else Costs(rows=rows, rounds_ms=rounds[1])
        if self.config.memory_mb is not None:
            rows_table = repeated(challenger.rows, ROWS)
            try:
                memory = added_mb(challenger.model, rows_table, self.registered, self.modules)
                own = replace(own, memory_mb=memory)
            except (NotMeasured, RegistryError) as error:
                own = replace(own, trouble=str(error))
        return cost_rules(self.config, own, theirs)


def side_by_side(
    predictors: Sequence[Callable[[int], object]],
    clock: Clock = time.process_time,
    wall: Clock = time.perf_counter,
) -> tuple[int, tuple[tuple[float, ...], ...]]:
    """Rows of a round, and for each predictor its milliseconds for 1,000 rows, round by round.

    A predictor predicts as many rows as it is told. In every second round they take turns in the
    other order. `clock` measures, `wall` says when it has taken long enough.
    """
    start = wall()
    for predict in predictors:
        predict(FEW)  # whatever is loaded at the first call only
    warm = clock()
    for predict in predictors:
        predict(FEW)
    few = clock() - warm
    affordable = int(FEW * SECONDS / 10 / few) if few > 0 else ROWS
    rows = min(max(affordable, FEW), ROWS)
    rounds: list[list[float]] = [[] for _ in predictors]
    while not rounds[0] or (len(rounds[0]) < ROUNDS and wall() - start < SECONDS):
        turns = range(len(predictors))
        for turn in turns if len(rounds[0]) % 2 == 0 else reversed(turns):
            began = clock()
            predictors[turn](rows)
            rounds[turn].append((clock() - began) * 1000 * 1000 / rows)
    return rows, tuple(tuple(each) for each in rounds)


def repeated(rows: pa.Table, count: int) -> pa.Table:
    """The first `count` rows, from the start again where there are not so many."""
    if rows.num_rows >= count:
        return rows.slice(0, count)
    return rows.take(pa.array(np.arange(count) % rows.num_rows))


def _predictor(served: Served) -> Callable[[int], object]:
    rows = repeated(served.rows, ROWS).combine_chunks()
    return lambda count: predictions(served.model, rows.slice(0, count))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Predictions here use one thread: several wait for each other, for as long as others work."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield

"""Labels that look ahead: a year of weekly challengers, with a gap and without.

A row a customer and day; its label says whether an event comes within 30 days, and is known only
then. The model says of a customer what the newest row that trained it said: all that can be
remembered. Where nobody's events can be predicted it is worth nothing, and yet the labels of two
days that follow each other have 29 days in common. Where customers differ, and change once, the
memory is worth something, and a younger model is truly better. The same customers return every
week: where the gate is not told (`cluster`), a kept challenger's luck with one of them counts as
often as the weeks that its label spans.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from ray_jobs.features import HoldoutConfig
from ray_jobs.split import split
from registry.gate_config import GateConfig
from registry.methods.comparison import Comparison
from registry.nights.betting import Sample
from registry.nights.docket import Docket
from registry.nights.night import Tonight, judged, opened

Labels = npt.NDArray[np.int64]

CUSTOMERS = 400
HORIZON = 30
WARM_UP = 100
"""Days before the first model."""
YEAR = 364
CHANGE = WARM_UP + YEAR // 2
RATES = (0.004, 0.05)
"""Of events a day, where customers differ."""
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CONFIG = GateConfig(min_rows=50)


def lines(repeats: int, seed: int) -> Iterator[str]:
    """The table as Markdown, for so many simulated years of a line."""
    yield "| labels | gap | `cluster: customer` | promotions a year | years with any |"
    yield "|---|---|---|---|---|"
    for name, differ in (("nothing to predict", False), ("customers differ, change once", True)):
        for gap, clustered in ((0, False), (HORIZON, False), (HORIZON, True)):
            found = np.array([promotions(differ, gap, clustered, seed + i) for i in range(repeats)])
            words = f"{gap} days | {'yes' if clustered else 'no'}"
            yield f"| {name} | {words} | {found.mean():.2f} | {(found > 0).mean():.0%} |"


def promotions(differ: bool, gap: int, clustered: bool, seed: int) -> int:
    """How often a year's weekly challengers take the champion's place.

    `clustered`: a customer that has judged a comparison does not judge it again; the same ones
    return every week, so each challenger is judged on one night.
    """
    labels, days = _labels(differ, seed), np.repeat(np.arange(WARM_UP + YEAR), CUSTOMERS)
    times = np.datetime64(START.replace(tzinfo=None), "us") + days * np.timedelta64(1, "D")
    docket, champion, epoch = Docket(epoch=1), -1, 1
    memories: dict[str, int] = {}
    for night, today in enumerate(range(WARM_UP, WARM_UP + YEAR, 7)):
        divided = split(
            times[: today * CUSTOMERS],
            HoldoutConfig(window=DAY, min_rows=50),
            now=START + today * DAY,
            label_delay=HORIZON * DAY,
            gap=gap * DAY,
        )
        newest = int(days[: today * CUSTOMERS][divided.train].max())
        if champion < 0:
            champion = newest
            continue
        judging = int(days[: today * CUSTOMERS][divided.holdout].max())
        version = str(night)
        memories[version] = newest
        tonight = Tonight(
            model="m",
            challenger=version,
            trained_until=divided.train_until,
            champion="0",
            champion_labels_until=START + (champion + gap) * DAY,
            gap=gap * DAY,
            epoch=epoch,
            run_id=version,
            mlflow_run_id="",
            now=START + today * DAY,
        )
        docket, gone = opened(docket, tonight, CONFIG)
        moments = np.full(CUSTOMERS, times[judging * CUSTOMERS])
        samples: dict[str, Sample | str] = {
            case.challenger: Sample(
                comparison=Comparison(
                    y=labels[judging],
                    challenger=labels[memories[case.challenger]],
                    champion=labels[champion],
                    classes=(0, 1),
                ),
                times=moments,
            )
            if case.challenger == version or not clustered
            else "every new row depends on rows that were used before"
            for case in docket.cases
        }
        docket, verdict = judged(docket, gone, samples, tonight, CONFIG)
        if verdict.promote:
            champion, epoch = memories[verdict.challenger], epoch + 1
            kept = tuple(c for c in docket.cases if c.challenger != verdict.challenger)
            docket = replace(docket, cases=kept)
    return epoch - 1


def _labels(differ: bool, seed: int) -> Labels:
    """Of each day, each customer's."""
    rng = np.random.default_rng(seed)
    chance = np.full((WARM_UP + YEAR + HORIZON + 1, CUSTOMERS), 0.02)
    if differ:
        chance[:] = rng.choice(RATES, CUSTOMERS)
        chance[CHANGE:] = rng.choice(RATES, CUSTOMERS)
    events = rng.random(chance.shape) < chance
    ahead = [events[day + 1 : day + 1 + HORIZON].any(axis=0) for day in range(WARM_UP + YEAR)]
    return np.asarray(ahead, dtype=np.int64)

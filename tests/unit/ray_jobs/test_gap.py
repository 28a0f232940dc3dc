"""Labels that look ahead: neither luck nor memory of the future may look like skill."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from ray_jobs.features import FeaturesConfig, HoldoutConfig
from ray_jobs.gap import LABELS_UNTIL_TAG, TRAIN_UNTIL_TAG, labels_until
from ray_jobs.split import Split, as_datetime, split
from registry import Comparison, GateConfig, Verdict
from registry.nights.betting import Sample
from registry.nights.docket import Docket
from registry.nights.night import Tonight, fresh_after, judged, opened

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
HORIZON = 30
CUSTOMERS, DAYS = 300, 150
FIRST = 115
FEATURES = FeaturesConfig(
    view="churn",
    label_delay=HORIZON * DAY,
    holdout=HoldoutConfig(window=DAY, min_rows=50),
)


class Customers:
    """A row a customer and day; the label: does an event come within the horizon?"""

    def __init__(self, *, signal_from: int | None = None) -> None:
        """`signal_from`: since this day a feature tells whom the events will meet; None: none."""
        rng = np.random.default_rng(1)
        self.static = rng.normal(size=(CUSTOMERS, 3))
        chance = np.full((CUSTOMERS, DAYS + HORIZON + 1), 0.02)
        if signal_from is not None:
            chance[:, signal_from:] = np.where(self.static[:, :1] > 0, 0.06, 0.002)
        events = rng.random(chance.shape) < chance
        ahead = [events[:, t + 1 : t + 1 + HORIZON].any(axis=1) for t in range(DAYS)]
        self.labels = np.stack(ahead).ravel().astype(np.int64)
        self.days = np.repeat(np.arange(DAYS), CUSTOMERS)
        self.inputs = np.column_stack([np.tile(self.static, (DAYS, 1)), self.days])
        start = np.datetime64("2026-01-01", "us")
        self.times = start + self.days * np.timedelta64(1, "D")

    def split(self, day: int, config: FeaturesConfig, seen: datetime | None) -> Split:
        """What a run on this day may use: the rows until then."""
        there = self.times[self.days < day]
        return split(
            there,
            config.holdout,
            now=START + day * DAY,
            label_delay=config.label_delay,
            gap=config.gap,
            seen_until=seen,
        )

    def fitted(self, divided: Split) -> RandomForestClassifier:
        rows = np.flatnonzero(divided.train)
        model = RandomForestClassifier(15, max_samples=0.5, random_state=0)
        return model.fit(self.inputs[rows], self.labels[rows])

    def verdict(self, config: FeaturesConfig, *, younger: int = 14) -> Verdict:
        """The gate's, on a challenger so many days younger than the champion."""
        today = FIRST + younger
        divided = self.split(FIRST, config, None)
        champion, seen = self.fitted(divided), divided.train_until + config.gap
        divided = self.split(today, config, seen)
        challenger = self.fitted(divided)
        tonight = Tonight(
            model="churn",
            challenger="2",
            trained_until=divided.train_until,
            champion="1",
            gap=config.gap,
            champion_labels_until=seen,
            epoch=1,
            run_id="",
            mlflow_run_id="",
            now=START + today * DAY,
        )
        gate = GateConfig(min_rows=50)
        docket, gone = opened(Docket(epoch=1), tonight, gate)
        (case,) = docket.cases
        bound = fresh_after(case, docket, tonight, gate)
        rows = [r for r in np.flatnonzero(divided.holdout) if as_datetime(self.times[r]) > bound]
        comparison = Comparison(
            y=self.labels[rows],
            challenger=challenger.predict(self.inputs[rows]),
            champion=champion.predict(self.inputs[rows]),
            classes=(0, 1),
        )
        samples = {"2": Sample(comparison=comparison, times=self.times[rows])}
        return judged(docket, gone, samples, tonight, gate)[1]


def test_a_model_that_only_remembers_the_answers_of_the_days_before_is_held() -> None:
    found = Customers().verdict(FEATURES)
    assert not found.promote
    assert found.gap_s == (HORIZON * DAY).total_seconds()


def test_without_a_gap_the_same_model_would_be_promoted() -> None:
    holdout = replace(FEATURES.holdout, gap=timedelta(0))
    assert Customers().verdict(replace(FEATURES, holdout=holdout)).promote


def test_a_model_that_has_learnt_something_is_promoted_over_the_gap() -> None:
    assert Customers(signal_from=80).verdict(FEATURES, younger=34).promote


def test_the_gap_is_the_labels_delay_unless_it_is_set() -> None:
    assert FeaturesConfig(view="v", label_delay=7 * DAY).gap == 7 * DAY
    own = HoldoutConfig(gap=2 * DAY)
    assert FeaturesConfig(view="v", label_delay=7 * DAY, holdout=own).gap == 2 * DAY


def test_a_negative_gap_or_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="gap is -1 day"):
        HoldoutConfig(gap=-DAY)
    with pytest.raises(ValueError, match="label_delay is -1 day"):
        FeaturesConfig(view="v", label_delay=-DAY)


def test_a_version_says_until_when_its_labels_look() -> None:
    tags = {
        TRAIN_UNTIL_TAG: START.isoformat(),
        LABELS_UNTIL_TAG: (START + 30 * DAY).isoformat(),
    }
    assert labels_until(tags, timedelta(0)) == START + 30 * DAY
    assert labels_until(tags, 40 * DAY) == START + 40 * DAY


def test_a_version_of_before_the_gap_gets_the_one_of_today() -> None:
    assert labels_until({TRAIN_UNTIL_TAG: START.isoformat()}, 7 * DAY) == START + 7 * DAY
    assert labels_until({}, 7 * DAY) is None

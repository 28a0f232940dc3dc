"""The card in MLflow: written when the verdict is recorded, complete, and read again later."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from registry import (
    CaseNote,
    CaseState,
    Comparison,
    GateConfig,
    Registry,
    Verdict,
    card_html,
    decide,
)
from registry.error_budget import Year
from registry.nights.docket import Docket

RNG = np.random.default_rng(7)
Y = RNG.integers(0, 2, 400)


def said(right: float) -> np.ndarray:
    """Probabilities of both classes by a model that is right on this share of the rows."""
    chance = np.where(RNG.random(400) < right, Y, 1 - Y) * 0.6 + 0.2
    return np.column_stack([1 - chance, chance])


COMPARISON = Comparison(y=Y, challenger=said(0.9), champion=said(0.8), classes=(0, 1))


def note(version: str, log_evidence: float, nights: int) -> CaseNote:
    return CaseNote(
        challenger=version,
        state=CaseState.KEPT,
        log_evidence=log_evidence,
        log_needed=math.log(9605),
        rows=400 * nights,
        nights=nights,
        fresh=400,
    )


@pytest.fixture
def judged(
    registry: Registry,
    mlflow_run: str,
    versions: Callable[[int], list[str]],
    verdict: Callable[..., Verdict],
    now: datetime,
) -> Verdict:
    """Version 3 on its second night against champion 1, recorded with everything around it."""
    versions(3)
    registry.promote(verdict("1", 0), actor="flow retrain", now=now)
    for version, rows in (("1", "1000"), ("3", "1400")):
        tags = {
            "ratchet.trained_by": f"run-{version}",
            "ratchet.estimator": "sklearn.tree.DecisionTreeClassifier",
            "ratchet.train_rows": rows,
            "ratchet.view": "digits",
            "ratchet.view_version": version,
            "ratchet.sources": "digits version 3",
            "ratchet.definition": "d" * 64,
            "ratchet.holdout_from": "2026-04-30T03:00:00+00:00",
            "ratchet.holdout_until": "not a time",
        }
        registry.models.set_tags("digits", version, tags)
    made = decide(COMPARISON, GateConfig(), model="digits", challenger="3", champion="1", epoch=1)
    made = replace(made, mlflow_run_id=mlflow_run, level=1e-4)
    docket = Docket(epoch=1, year=Year(number=2026).after_opening())
    for night, run in enumerate(("run-2", "run-3")):
        cases = (note("3", 1.0 + night, night + 1), note("2", 0.5, night + 1))
        made = replace(made, run_id=run, cases=cases)
        assert registry.keep_night(
            docket, made, challenger="3", dataset="d", expected=night, now=now
        )
    registry.record_verdict(made, COMPARISON)
    return made


def test_it_is_written_beside_the_run_with_its_plots(registry: Registry, judged: Verdict) -> None:
    client = registry.tracking._seam.client
    run = judged.mlflow_run_id
    files = {file.path for file in client.list_artifacts(run)}
    plots = {file.path for file in client.list_artifacts(run, "plots")}
    assert {"card.html", "calibration.json", "verdict.json"} <= files
    assert plots == {
        f"plots/{name}.png" for name in ("differences", "evidence", "calibration", "confusion")
    }
    html = registry.kept_card(judged)
    assert html is not None
    for words in (
        "champion v1",
        "night 2 of digits",
        "Evidence over nights",
        "Calibration",
        "Error budget of 2026",
        "run-1",
        "1,400",
        "DecisionTreeClassifier",
        "2026-04-30 03:00 to –",
        "epoch 1, promote by flow retrain",
    ):
        assert words in html


def test_made_again_it_is_the_same(registry: Registry, judged: Verdict) -> None:
    again = registry.card(judged)
    assert card_html(again) == registry.kept_card(judged)
    assert [past.night for past in again.history] == [1, 2]
    assert [one.name for one in again.calibration] == ["champion v1", "challenger v3"]
    assert [(one.version, one.train_rows) for one in again.trained] == [("3", 1400), ("1", 1000)]


def test_a_card_of_an_earlier_night_knows_nothing_of_later_ones(
    registry: Registry, judged: Verdict
) -> None:
    (night,) = registry.nights_of("run-2")
    card = registry.card_of(night.verdict)
    assert (card.night, [past.night for past in card.history]) == (1, [1])
    assert card.champion is not None
    assert (card.champion.version, card.champion.epoch) == ("1", 1)
    assert (card.trained, card.calibration) == ((), ())


def test_without_docket_and_versions_it_says_what_is_known(
    registry: Registry, verdict: Callable[..., Verdict]
) -> None:
    assert registry.models.versions("digits") == ()
    card = registry.card(verdict("9", 4))
    assert (card.night, card.year, card.champion, card.trained) == (None, None, None, ())
    assert "It is better." in card_html(card)
    assert registry.kept_card(verdict("9", 4)) is None
    assert registry.kept_card(replace(verdict("9", 4), mlflow_run_id="0" * 32)) is None
    assert registry.nights_of("nobody") == ()

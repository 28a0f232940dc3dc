"""The gate promotes what is surely better, holds the rest, and refuses what makes no sense."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from registry.costs import Costs, cost_rules
from registry.errors import GateError, UnknownMetric
from registry.gate import GateConfig, decide
from registry.gate_config import CostConfig, NewClasses
from registry.methods.comparison import Comparison
from registry.verdict import Decision, Rule, RuleResult, Verdict, verdict_json

ROWS = 2000
RNG = np.random.default_rng(11)
Y = RNG.integers(0, 3, ROWS)


def labels(accuracy: float, seed: int = 0) -> np.ndarray:
    wrong = np.random.default_rng(seed).random(ROWS) >= accuracy
    return np.where(wrong, (Y + 1) % 3, Y)


GOOD, BAD = labels(0.95, 1), labels(0.85, 2)


def judge(comparison: Comparison, config: GateConfig | None = None, **identity: object) -> Verdict:
    known: dict[str, object] = {"model": "digits", "challenger": "4", "epoch": 3, "run_id": "r"}
    if comparison.champion is not None:
        known["champion"] = "3"
    return decide(comparison, config or GateConfig(), **{**known, **identity})  # type: ignore[arg-type]


def test_a_surely_better_challenger_is_promoted() -> None:
    verdict = judge(Comparison(y=Y, challenger=GOOD, champion=BAD))
    assert verdict.promote
    assert verdict.decision is Decision.PROMOTE
    assert verdict.reason.startswith("Version 4 is better than champion version 3: accuracy 0.9")
    assert (verdict.model, verdict.challenger, verdict.champion) == ("digits", "4", "3")
    assert (verdict.epoch, verdict.rows, verdict.confidence) == (3, ROWS, 0.95)
    assert verdict.difference == pytest.approx(verdict.challenger_score - verdict.baseline)
    assert 0 < verdict.low < verdict.difference < verdict.high


def test_a_worse_challenger_is_held() -> None:
    verdict = judge(Comparison(y=Y, challenger=BAD, champion=GOOD))
    assert verdict.decision is Decision.HOLD
    assert "is worse than champion version 3" in verdict.reason


def test_an_equal_challenger_is_held() -> None:
    verdict = judge(Comparison(y=Y, challenger=GOOD, champion=GOOD))
    assert not verdict.promote
    assert (verdict.difference, verdict.low, verdict.high) == (0.0, 0.0, 0.0)
    assert "is not better than" in verdict.reason


def test_better_by_less_than_the_minimum_effect_is_not_proven() -> None:
    pair = Comparison(y=Y, challenger=GOOD, champion=BAD)
    verdict = judge(pair, GateConfig(min_effect=0.095))
    assert not verdict.promote
    assert "not proven better" in verdict.reason
    assert verdict.rules[0].bound == 0.095


def test_a_loss_improves_by_getting_smaller() -> None:
    y = RNG.normal(size=ROWS)
    pair = Comparison(
        y=y, challenger=y + RNG.normal(0, 0.5, ROWS), champion=y + RNG.normal(0, 1, ROWS)
    )
    for metric in ("mae", "mse", "rmse", "r2"):
        verdict = judge(pair, GateConfig(metric=metric))
        assert verdict.promote, metric
        assert verdict.difference > 0


def test_probabilities_are_aligned_by_the_names_of_their_columns() -> None:
    p = np.full((ROWS, 3), 0.1)
    p[np.arange(ROWS), GOOD] = 0.8
    turned = Comparison(
        y=Y,
        challenger=p[:, [2, 0, 1]],
        classes=(2, 0, 1),
        champion=p,
        champion_classes=(0, 1, 2),
    )
    verdict = judge(turned, GateConfig(metric="log_loss"))
    assert verdict.difference == 0.0


def test_a_first_model_passes_on_its_floors_alone_and_says_so() -> None:
    verdict = judge(Comparison(y=Y, challenger=GOOD), GateConfig(floors={"accuracy": 0.9}))
    assert verdict.promote
    assert "first model" in verdict.reason
    assert "must be at least 0.9" in verdict.reason
    assert (verdict.baseline, verdict.difference, verdict.champion) == (None, None, None)
    assert verdict.challenger_score == pytest.approx(0.95, abs=0.02)


def test_a_first_model_says_what_it_is_proven_better_than_before_its_other_rules() -> None:
    constant = np.zeros(len(Y), dtype=np.int64)
    asked = Comparison(y=Y, challenger=GOOD, constant=constant)
    verdict = judge(asked, GateConfig(floors={"accuracy": 0.9}))
    assert verdict.reason.startswith(
        "Version 4 is the first model, and proven better than saying always the same: accuracy "
    )
    proof, _, others = verdict.reason.partition(". It keeps every other rule: ")
    assert "surely exceeds 0" in proof
    assert others.endswith("and must be at least 0.9.")


def test_a_first_model_below_a_floor_is_held() -> None:
    config = GateConfig(floors={"accuracy": 0.99, "f1": 0.5})
    verdict = judge(Comparison(y=Y, challenger=GOOD), config)
    assert not verdict.promote
    assert "misses a floor: accuracy is 0.9" in verdict.reason
    assert [rule.passed for rule in verdict.rules] == [False, True]


def test_a_first_model_without_floors_says_that_nothing_was_asked() -> None:
    assert "no floor to keep" in judge(Comparison(y=Y, challenger=GOOD)).reason


def test_better_than_the_champion_but_below_a_floor_is_held() -> None:
    pair = Comparison(y=Y, challenger=GOOD, champion=BAD)
    verdict = judge(pair, GateConfig(floors={"accuracy": 0.99}))
    assert not verdict.promote
    assert "is better than champion version 3 but is held" in verdict.reason


def test_a_ceiling_bounds_a_loss_from_above() -> None:
    y = RNG.normal(size=ROWS)
    first = Comparison(y=y, challenger=y + 0.3)
    assert judge(first, GateConfig(metric="mae", floors={"rmse": 0.31})).promote
    assert not judge(first, GateConfig(metric="mae", floors={"rmse": 0.29})).promote


def test_a_slice_that_gets_much_worse_holds_a_better_model() -> None:
    region = np.where(np.arange(ROWS) % 10 == 0, "north", "south")
    harmed = np.where(region == "north", labels(0.7, 5), labels(0.97, 6))
    pair = Comparison(y=Y, challenger=harmed, champion=BAD, slices={"region": region})
    assert judge(pair).promote
    verdict = judge(pair, GateConfig(slices=("region",)))
    assert not verdict.promote
    failed = [rule for rule in verdict.rules if not rule.passed]
    assert [(rule.rule, rule.slice, rule.rows) for rule in failed] == [
        (Rule.SLICE, "region=north", 200)
    ]
    assert "accuracy on region=north changed by -0.1" in verdict.reason
    assert "not proven to be no worse than -0.02" in verdict.reason


def test_a_slice_of_few_rows_is_reported_as_not_judged() -> None:
    rare = np.where(np.arange(ROWS) < 5, "rare", "common")
    pair = Comparison(y=Y, challenger=GOOD, champion=BAD, slices={"kind": rare})
    rules = judge(pair, GateConfig(slices=("kind",))).rules
    (note,) = [rule for rule in rules if rule.slice == "kind=rare"]
    assert (note.passed, note.judged, note.figure) == (True, False, None)
    assert note.message == "kind=rare is not judged: fewer than 50 rows"


PROBABILITIES = np.full((ROWS, 3), 1 / 3)
BROKEN = PROBABILITIES.copy()
BROKEN[7, 1] = np.nan
INFINITE = Y.astype(float)
INFINITE[3] = np.inf


@pytest.mark.parametrize(
    ("comparison", "config", "because"),
    [
        (Comparison(y=Y[:0], challenger=GOOD[:0]), {}, "the holdout is empty"),
        (Comparison(y=Y[:99], challenger=GOOD[:99]), {}, "has 99 rows and the gate asks for 100"),
        (
            Comparison(y=Y, challenger=BROKEN, classes=(0, 1, 2)),
            {},
            "1 of the challenger's predictions are missing or infinite",
        ),
        (
            Comparison(y=Y, challenger=PROBABILITIES, champion=BROKEN, classes=(0, 1, 2)),
            {},
            "1 of the champion's predictions are missing or infinite",
        ),
        (
            Comparison(y=Y * 1.0, challenger=INFINITE),
            {"metric": "mae"},
            "1 of the challenger's predictions are missing",
        ),
        (
            Comparison(y=np.array([None, *Y[1:]], dtype=object), challenger=GOOD),
            {},
            "1 of the labels are missing",
        ),
        (Comparison(y=Y * 0, challenger=GOOD), {}, "one class only, 0"),
        (
            Comparison(
                y=Y,
                challenger=PROBABILITIES,
                champion=np.full((ROWS, 2), 0.5),
                classes=(0, 1, 2),
                champion_classes=(0, 1),
            ),
            {},
            "the champion never saw the class 2",
        ),
        (
            Comparison(y=Y, challenger=GOOD, champion=BAD, clusters=np.zeros(ROWS)),
            {"cluster": "day"},
            "one cluster",
        ),
        (Comparison(y=np.ones(ROWS), challenger=np.ones(ROWS)), {"metric": "r2"}, "not defined"),
    ],
)
def test_what_cannot_be_judged_is_held_with_the_reason(
    comparison: Comparison, config: dict[str, str], because: str
) -> None:
    verdict = judge(comparison, GateConfig(**config))  # type: ignore[arg-type]
    assert verdict.decision is Decision.HOLD
    assert not verdict.promote
    assert because in verdict.reason
    assert verdict.rules[0].rule is Rule.EVIDENCE
    assert verdict.challenger_score is None


@pytest.mark.parametrize(
    ("comparison", "config", "message"),
    [
        ({"champion": BAD[:-1]}, {}, "2,000 labels and 1,999 rows of champion"),
        ({"slices": {"a": Y[:3]}}, {}, "3 rows of a"),
        ({"slices": {"region": Y}}, {"slices": ("regoin",)}, "did you mean 'region'"),
        ({}, {"slices": ("region",)}, "has none of them"),
        (
            {"slices": {"id": np.arange(ROWS)}, "champion": BAD},
            {"slices": ("id",)},
            "has 2,000 values; at most 200",
        ),
        ({}, {"cluster": "day"}, "clusters rows by 'day'"),
        ({}, {"floors": {"mae": 1.0}}, "'mae' is a metric of regression"),
        ({}, {"confidence": 95}, "confidence is 95"),
        ({}, {"min_effect": -0.1}, "min_effect is -0.1"),
        ({}, {"min_effect": float("nan")}, "min_effect is nan"),
        ({}, {"resamples": 5}, "resamples is 5; at least 100"),
    ],
)
def test_what_makes_no_sense_is_refused(
    comparison: dict[str, object], config: dict[str, object], message: str
) -> None:
    fields: dict[str, object] = {"y": Y, "challenger": GOOD, **comparison}
    with pytest.raises(GateError, match=message):
        judge(Comparison(**fields), GateConfig(**config))  # type: ignore[arg-type]


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownMetric, match="did you mean 'log_loss'"):
        judge(Comparison(y=Y, challenger=GOOD), GateConfig(metric="logloss"))


def test_a_champion_without_predictions_is_refused() -> None:
    with pytest.raises(GateError, match="both its version and its predictions"):
        judge(Comparison(y=Y, challenger=GOOD), champion="3")


def test_a_verdict_is_the_same_every_time_and_is_plain_json() -> None:
    pair = Comparison(y=Y, challenger=GOOD, champion=BAD, slices={"d": Y}, clusters=Y)
    config = GateConfig(metric="f1", slices=("d",), cluster="day", floors={"accuracy": 0.5})
    assert verdict_json(judge(pair, config)) == verdict_json(judge(pair, config))


def test_equal_models_are_rarely_promoted() -> None:
    promoted, nights = 0, 200
    rng = np.random.default_rng(0)
    y = np.zeros(500)
    for night in range(nights):
        pair = Comparison(y=y, challenger=rng.normal(size=500), champion=rng.normal(size=500))
        config = GateConfig(metric="mae", resamples=300, seed=night)
        promoted += judge(pair, config).promote
    # One-sided error 2.5 %: 200 nights expect 5; more than 13 happens once in a thousand times.
    assert promoted <= 13


def test_the_gate_imports_numpy_at_most() -> None:
    heavy = "{'scipy', 'pandas', 'sklearn', 'mlflow', 'ray', 'torch', 'matplotlib', 'alembic'}"
    code = f"import sys, registry; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_config_is_compared_and_changed_like_a_value() -> None:
    assert replace(GateConfig(), metric="f1") == GateConfig(metric="f1")


def test_rows_of_a_class_that_the_champion_never_saw_count_where_the_gate_says_so() -> None:
    knows_two = np.where(BAD == 2, 0, BAD)
    comparison = Comparison(
        y=Y, challenger=GOOD, champion=knows_two, classes=(0, 1, 2), champion_classes=(0, 1)
    )
    assert not judge(comparison).promote
    verdict = judge(comparison, GateConfig(new_classes=NewClasses.JUDGE, max_flips=0.9))
    rows = int((Y == 2).sum())
    assert verdict.promote
    assert verdict.reason.endswith(
        f" {rows:,} rows are of a class that the champion never saw, and it is wrong on them: "
        f"2 ({rows:,} rows)."
    )
    assert verdict.baseline == float(np.mean(knows_two == Y))
    (said,) = (rule for rule in verdict.rules if rule.rule is Rule.EVIDENCE)
    assert (said.rows, said.judged) == (rows, False)


def test_a_challenger_that_never_saw_a_class_is_judged_and_loses_its_rows() -> None:
    knows_two = np.where(GOOD == 2, 0, GOOD)
    comparison = Comparison(
        y=Y, challenger=knows_two, champion=BAD, classes=(0, 1), champion_classes=(0, 1, 2)
    )
    verdict = judge(comparison)
    assert not verdict.promote
    assert "is worse than champion version 3" in verdict.reason
    assert "a class that the challenger never saw" in verdict.reason
    first = judge(replace(comparison, champion=None))
    assert "a class that the challenger never saw" in first.reason


def test_costs_are_asked_for_when_all_else_holds_and_else_reported_as_not_measured() -> None:
    asked: list[str] = []

    def measure() -> tuple[RuleResult, ...]:
        asked.append("costs")
        return cost_rules(CostConfig(size_mb=1.0), Costs(size_mb=3.0), None)

    dear = GateConfig(cost=CostConfig(size_mb=1.0))
    better = Comparison(y=Y, challenger=GOOD, champion=BAD)
    held = judge(better, dear, costs=measure)
    assert asked == ["costs"]
    assert "its files have 3 MB and may have 1 MB" in held.reason
    for comparison, config in (
        (replace(better, challenger=BAD, champion=GOOD), dear),
        (better, replace(dear, floors={"accuracy": 0.999})),
        (Comparison(y=Y, challenger=BAD), replace(dear, floors={"accuracy": 0.9})),
        (Comparison(y=Y, challenger=BAD, constant=GOOD), dear),
    ):
        verdict = judge(comparison, config, costs=measure)
        (cost,) = (rule for rule in verdict.rules if rule.rule is Rule.COST)
        assert (verdict.promote, cost.passed, cost.judged) == (False, True, False)
        assert cost.message == "not measured, because it is held anyway"
    assert asked == ["costs"]
    judge(Comparison(y=Y, challenger=GOOD), dear, costs=measure)
    judge(Comparison(y=Y, challenger=GOOD, constant=BAD), dear, costs=measure)
    assert len(asked) == 3

"""A gate that makes no sense is refused when the config is composed, not after the training."""

from pathlib import Path

import pytest

from flows.config import compose
from flows.core.errors import ConfigError
from flows.retrain import RetrainConfig


def composed(folder: Path, *overrides: str) -> object:
    return compose("retrain", RetrainConfig, overrides, folder)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("gate.metric=acuracy",), "no metric 'acuracy'; did you mean 'accuracy'"),
        (("gate.baseline=simple",), "gate.simple names no model"),
        (("gate.baseline=simple", "gate.simple={C: 2.0}"), "gate.simple has no _target_"),
        (("gate.baseline=simple", "gate.simple={_target_: os.system}"), "not in an allowed module"),
        (("gate=regression", "gate.max_flips=0.1"), "counts changed classes"),
        (("gate.cost.size_mb=0",), r"cost\.size_mb is 0; it must be positive"),
        (("gate.metric=mae", "gate.bound=null"), "a row's mae has no bound"),
        (("gate=regression",), "a row's mae has no bound"),
        (("gate=single_night", "gate.metric=log_loss"), "a row's log_loss has no bound"),
        (("gate=regression", "gate.bound=-3"), "bound is -3; it must be positive"),
    ],
)
def test_a_gate_that_makes_no_sense_is_one_line(
    tmp_path: Path, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        composed(tmp_path, *overrides)
    assert "\n" not in str(caught.value)
    assert caught.value.hint or "must be positive" in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.workers=0", r"^trainer \(override trainer.workers=0\): workers is 0"),
        ("trainer.num_gpus=-1", "num_cpus and num_gpus must be at least 0"),
        ("trainer.search={space: {C: [1, 2]}, folds: 0}", "folds is 0; each must be at least 1"),
        ("features.holdout.fraction=1", "fraction is 1.0, and must be between 0 and 1"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_data_is_extracted_for_it(
    tmp_path: Path, override: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        composed(tmp_path, "features=digits", "model=m", override)


def test_a_gate_with_every_rule_of_costs_is_accepted(tmp_path: Path) -> None:
    composed(
        tmp_path,
        "gate.baseline=simple",
        "gate.simple={_target_: sklearn.linear_model.LogisticRegression, C: 2.0}",
        "gate.max_flips=0.05",
        "gate.cost={latency_ms: 20, latency_ratio: 1.5, size_mb: 50, memory_mb: 800}",
    )

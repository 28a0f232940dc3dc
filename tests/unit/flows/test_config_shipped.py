"""Every file in conf/ that a user can choose is valid, and composes to typed config."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import compose, load, sources
from flows.core.errors import ConfigError
from flows.retrain import RetrainConfig

# What nobody but the user knows.
TO_BE_SAID = {"regression": ["gate.bound=10"]}


@pytest.mark.parametrize("group", ["store", "feature_store", "registry", "ray", "alerts"])
def test_every_choice_of_a_setting_is_valid(tmp_path: Path, group: str) -> None:
    options = sources.config_path(tmp_path).options(group)
    assert options
    for option in options:
        composed = compose(overrides=[f"{group}={option}"], project=tmp_path)
        assert load(composed.yaml).settings == composed.settings


@pytest.mark.parametrize("group", ["features", "checks", "trainer", "gate"])
def test_every_choice_of_the_training_loop_is_valid(tmp_path: Path, group: str) -> None:
    options = sources.config_path(tmp_path).options(group)
    assert options
    for option in options:
        said = [f"{group}={option}", *TO_BE_SAID.get(option, ())]
        composed = compose("retrain", RetrainConfig, said, tmp_path)
        assert load(composed.yaml, RetrainConfig) == composed


def test_the_gate_of_numbers_asks_for_the_largest_error_that_counts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mae has no bound") as refused:
        compose("retrain", RetrainConfig, ["gate=regression"], tmp_path)
    assert "gate.bound" in str(refused.value.hint)


def test_every_group_belongs_to_a_setting_or_to_the_training_loop(tmp_path: Path) -> None:
    data = compose("retrain", RetrainConfig, [], tmp_path).data
    assert set(sources.config_path(tmp_path).groups()) - {"flow"} <= set(data)

"""Rows that the features call dependent are never bet on as independent ones."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ray_jobs.dependent import grouped
from ray_jobs.features import FeaturesConfig
from registry import GateConfig

PATIENTS = FeaturesConfig(view="v", group="patient")


def test_a_group_of_the_features_is_the_cluster_of_the_gate() -> None:
    assert grouped(GateConfig(), PATIENTS) == GateConfig(cluster="patient")


@pytest.mark.parametrize(
    "gate",
    [GateConfig(cluster="ward"), GateConfig(block=timedelta(days=1))],
    ids=["a cluster", "blocks of time"],
)
def test_a_gate_that_says_how_rows_depend_is_left_as_it_is(gate: GateConfig) -> None:
    assert grouped(gate, PATIENTS) is gate


def test_without_a_group_nothing_depends() -> None:
    assert grouped(GateConfig(), replace(PATIENTS, group=None)) == GateConfig()

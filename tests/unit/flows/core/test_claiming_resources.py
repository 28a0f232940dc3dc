"""What a task needs of a cluster is read from its arguments, and compared with what is free."""

from __future__ import annotations

import json

import pytest

from flows.core.claiming import ONE_CPU, Capacity, Resources, needs_of
from flows.core.errors import GraphError
from flows.core.flow import flow, task


@task(resources="trainer")
def train(trainer: dict[str, int]) -> None:
    """A task that says what it needs."""


@task(resources="nobody")
def lost(trainer: dict[str, int]) -> None:
    """A task that names a parameter that it has not."""


def arguments(**trainer: object) -> str:
    return json.dumps({"trainer": trainer, "model": "digits"})


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        (arguments(num_cpus=2, num_gpus=0.5, workers=3), Resources(cpus=6, gpus=1.5)),
        (arguments(num_gpus=1), Resources(cpus=1, gpus=1)),
        (arguments(num_cpus=None, workers="many"), ONE_CPU),
        ('{"trainer": 7}', ONE_CPU),
        ("{}", ONE_CPU),
    ],
)
def test_every_worker_of_a_training_counts(text: str, needs: Resources) -> None:
    assert needs_of("trainer", text) == needs


def test_a_task_that_says_nothing_needs_one_cpu() -> None:
    assert needs_of(None, arguments(num_gpus=8)) == ONE_CPU


def test_what_does_not_fit_now_waits_and_what_never_fits_does_not() -> None:
    has = Capacity(total=Resources(cpus=4, gpus=1), free=Resources(cpus=2, gpus=1))
    gpu = Resources(cpus=1, gpus=1)
    assert has.takes(gpu)
    assert not has.less(gpu).takes(gpu)
    assert not has.takes(Resources(cpus=3))
    assert has.takes(Resources(cpus=1, gpus=2))  # whoever starts it says why it cannot run


def test_shares_of_a_gpu_add_up() -> None:
    has = Capacity(total=Resources(gpus=1), free=Resources(gpus=1))
    third = Resources(gpus=0.1)
    for _ in range(9):
        has = has.less(third)
    assert has.takes(third)
    assert not has.less(third).takes(third)


def test_a_flow_keeps_the_name_of_the_parameter() -> None:
    @flow
    def trains() -> None:
        train({"num_gpus": 1})

    assert trains.graph.nodes[0].resources == "trainer"


def test_a_parameter_that_the_task_has_not_is_an_error_when_the_flow_is_built() -> None:
    with pytest.raises(GraphError, match="has no input 'nobody'"):

        @flow
        def trains() -> None:
            lost({"num_gpus": 1})

"""What can never run is refused with the figures; what only has to wait is not."""

from __future__ import annotations

import pytest

from ray_jobs import NodeResources, NotEnoughResources, ensure_feasible
from ray_jobs.resources import ELASTIC

SMALL = NodeResources(name="a", cpus=2, gpus=0, memory=4 * 2**30)
BIG = NodeResources(name="b", cpus=8, gpus=2, memory=32 * 2**30)


def test_a_request_that_fits_on_one_node_is_accepted() -> None:
    ensure_feasible(num_cpus=8, num_gpus=2, memory=2**30, nodes=[SMALL, BIG])


def test_a_request_for_nothing_asks_no_cluster() -> None:
    ensure_feasible()


def test_missing_gpus_are_named_with_both_figures() -> None:
    with pytest.raises(
        NotEnoughResources, match=r"^Training asks for 4 GPUs; the cluster has 0 GPUs\.$"
    ) as info:
        ensure_feasible(num_gpus=4, what="Training", nodes=[SMALL])
    assert info.value.permanent
    assert info.value.hint


def test_what_only_the_nodes_together_have_is_refused_with_each_nodes_share() -> None:
    with pytest.raises(NotEnoughResources, match=r"none of the cluster's 2 nodes") as info:
        ensure_feasible(num_cpus=10, memory=2**30, nodes=[SMALL, BIG])
    assert "(a: 2 CPUs and 4 GiB of memory; b: 8 CPUs and 32 GiB of memory)" in str(info.value)


def test_an_elastic_cluster_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ELASTIC, "1")
    ensure_feasible(num_gpus=4, nodes=[SMALL])

"""What a cluster has free: Ray's late count, corrected by what is known of our own jobs."""

from __future__ import annotations

import threading

import pytest

from flows.adapters.ray_usage import RayCounter, RayUsage
from flows.core.claiming import NOTHING_FREE, Resources
from flows.core.errors import ConfigError
from ray_jobs import ClusterLoad, RayUnreachable

GPU = Resources(cpus=1, gpus=1)


def load(at: float, *, cpus: float = 0, gpus: float = 0) -> ClusterLoad:
    return ClusterLoad(cpus=4, gpus=2, used_cpus=cpus, used_gpus=gpus, counted_at=at)


def free(usage: RayUsage, now: float) -> tuple[float, float]:
    found = usage.capacity(now).free
    return found.cpus, found.gpus


def test_nothing_is_free_before_ray_has_answered() -> None:
    usage = RayUsage()
    assert usage.capacity(0) == NOTHING_FREE
    assert not NOTHING_FREE.takes(GPU)


def test_what_others_use_is_not_free() -> None:
    usage = RayUsage()
    usage.see(load(1, cpus=3, gpus=2), now=100)
    assert free(usage, 100) == (1, 0)


def test_a_job_that_was_submitted_holds_its_share_before_ray_counts_it() -> None:
    usage = RayUsage()
    usage.see(load(1), now=100)
    usage.reserve("a", GPU)
    assert free(usage, 100) == (3, 1)
    usage.begin("a", now=101)
    assert free(usage, 101) == (3, 1)


def test_a_job_that_has_settled_is_counted_once() -> None:
    usage = RayUsage()
    usage.see(load(1), now=100)
    usage.reserve("a", GPU)
    usage.begin("a", now=101)
    usage.see(load(2, cpus=1, gpus=1), now=120)
    assert free(usage, 120) == (3, 1)
    usage.see(load(3), now=125)  # it reads data just now, and will need its GPU again
    assert free(usage, 125) == (3, 1)


def test_what_a_job_held_is_free_at_once_although_ray_counts_it_still() -> None:
    usage = RayUsage()
    usage.reserve("a", GPU)
    usage.begin("a", now=80)
    usage.see(load(1, cpus=1, gpus=1), now=100)
    usage.end("a", now=101)
    assert free(usage, 101) == (4, 2)
    usage.see(load(2, cpus=1, gpus=1), now=110)  # counted after its end: another one's
    assert free(usage, 110) == (3, 1)


class Answers:
    """A Ray that answers, or does not."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.answer: ClusterLoad | None = None
        self.problem = problem or RayUnreachable("No Ray answers.")
        self.asked = threading.Event()

    def __call__(self) -> ClusterLoad:
        try:
            if self.answer is None:
                raise self.problem
            return self.answer
        finally:
            self.asked.set()


def test_ray_is_asked_only_when_somebody_wants_to_know() -> None:
    ray = Answers()
    ray.answer = load(1)
    counter = RayCounter(ray)
    counter.open()
    try:
        assert not ray.asked.wait(0.05)
        assert counter.capacity(60) == NOTHING_FREE
        assert ray.asked.wait(5)
        while (found := counter.capacity(60)) == NOTHING_FREE:
            pass
        assert found is not None
        assert found.free == Resources(cpus=4, gpus=2)
    finally:
        counter.close()


@pytest.mark.parametrize("problem", [RayUnreachable("No Ray answers."), ConfigError("no secret")])
def test_work_waits_for_a_silent_ray_and_then_tries_all_the_same(problem: Exception) -> None:
    ray = Answers(problem)
    counter = RayCounter(ray)
    counter.open()
    try:
        assert counter.capacity(60) == NOTHING_FREE
        assert ray.asked.wait(5)
        while counter.capacity(0) is not None:
            pass
        assert counter.capacity(60) == NOTHING_FREE
    finally:
        counter.close()

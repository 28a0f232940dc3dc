"""What a cluster has free: Ray's late count, corrected by what is known of our own jobs."""

from __future__ import annotations

import threading

import pytest

from flows.adapters.ray_usage import RayUsage
from flows.core.claiming import NOTHING_FREE, Resources
from flows.core.errors import ConfigError
from ray_jobs import ClusterLoad, RayUnreachable

GPU = Resources(cpus=1, gpus=1)


def load(at: float, *, cpus: float = 0, gpus: float = 0) -> ClusterLoad:
    return ClusterLoad(cpus=4, gpus=2, used_cpus=cpus, used_gpus=gpus, counted_at=at)


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


class Counted:
    """A usage that is looked at by hand, at times that the test says."""

    def __init__(self) -> None:
        self.ray, self.now = Answers(), 0.0
        self.usage = RayUsage(self.ray, lambda: self.now)

    def see(self, answer: ClusterLoad, now: float) -> None:
        self.ray.answer, self.now = answer, now
        assert self.usage.look()

    def free(self, now: float) -> tuple[float, float]:
        self.now = now
        capacity = self.usage.capacity(60)
        assert capacity is not None
        return capacity.free.cpus, capacity.free.gpus

    def begin(self, job: str, now: float) -> None:
        self.now = now
        self.usage.begin(job)

    def end(self, job: str, now: float) -> None:
        self.now = now
        self.usage.end(job)


def test_nothing_is_free_before_ray_has_answered() -> None:
    assert Counted().usage.capacity(60) == NOTHING_FREE
    assert not NOTHING_FREE.takes(GPU)


def test_what_others_use_is_not_free() -> None:
    counted = Counted()
    counted.see(load(1, cpus=3, gpus=2), now=100)
    assert counted.free(100) == (1, 0)


def test_a_job_that_was_submitted_holds_its_share_before_ray_counts_it() -> None:
    counted = Counted()
    counted.see(load(1), now=100)
    counted.usage.reserve("a", GPU)
    assert counted.free(100) == (3, 1)
    counted.begin("a", now=101)
    assert counted.free(101) == (3, 1)


def test_a_job_that_has_settled_is_counted_once() -> None:
    counted = Counted()
    counted.see(load(1), now=100)
    counted.usage.reserve("a", GPU)
    counted.begin("a", now=101)
    counted.see(load(2, cpus=1, gpus=1), now=120)
    assert counted.free(120) == (3, 1)
    counted.see(load(3), now=125)  # it reads data just now, and will need its GPU again
    assert counted.free(125) == (3, 1)


def test_what_a_job_held_is_free_at_once_although_ray_counts_it_still() -> None:
    counted = Counted()
    counted.usage.reserve("a", GPU)
    counted.begin("a", now=80)
    counted.see(load(1, cpus=1, gpus=1), now=100)
    counted.end("a", now=101)
    assert counted.free(101) == (4, 2)
    counted.see(load(2, cpus=1, gpus=1), now=110)  # counted after its end: another one's
    assert counted.free(110) == (3, 1)


def test_ray_is_asked_only_when_somebody_wants_to_know() -> None:
    ray = Answers()
    ray.answer = load(1)
    usage = RayUsage(ray)
    usage.open()
    try:
        assert not ray.asked.wait(0.05)
        assert usage.capacity(60) == NOTHING_FREE
        assert ray.asked.wait(60)
        while (found := usage.capacity(60)) == NOTHING_FREE:
            pass
        assert found is not None
        assert found.free == Resources(cpus=4, gpus=2)
    finally:
        usage.close()


@pytest.mark.parametrize("problem", [RayUnreachable("No Ray answers."), ConfigError("no secret")])
def test_work_waits_for_a_silent_ray_and_then_tries_all_the_same(problem: Exception) -> None:
    ray = Answers(problem)
    usage = RayUsage(ray)
    usage.open()
    try:
        assert usage.capacity(60) == NOTHING_FREE
        assert ray.asked.wait(60)
        while usage.capacity(0) is not None:
            pass
        assert usage.capacity(60) == NOTHING_FREE
    finally:
        usage.close()

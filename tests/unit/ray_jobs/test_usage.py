"""What a job is charged."""

from __future__ import annotations

import pytest

from ray_jobs import usage as module
from ray_jobs.usage import Usage, counted_in, current_usage


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to; no processor time is used."""
    times = {"now": 0.0}
    monkeypatch.setattr(module.time, "monotonic", lambda: times["now"])
    monkeypatch.setattr(module, "_process_time", lambda: 0.0)

    def advance(seconds):
        times["now"] += seconds

    return advance


def test_a_grant_counts_for_as_long_as_it_lasts(clock):
    usage = Usage()
    grant = usage.begin(2.0, 0.5)
    clock(10)
    assert (usage.so_far().cpu_s, usage.so_far().gpu_s) == (20.0, 5.0)
    usage.end(grant)
    clock(10)
    assert (usage.so_far().cpu_s, usage.so_far().gpu_s) == (20.0, 5.0)


def test_who_held_a_grant_may_say_how_long_and_only_once(clock):
    usage = Usage()
    grant = usage.begin(4.0, 0.0)
    clock(10)
    usage.end(grant, seconds=2.0)
    usage.end(grant)
    assert usage.so_far().cpu_s == 8.0


def test_the_jobs_own_processor_time_counts():
    usage = Usage()
    assert sum(range(2_000_000)) > 0
    assert usage.so_far().cpu_s > 0


def test_what_is_granted_in_a_block_is_counted_there_and_outside_nowhere(clock):
    usage = Usage()
    with counted_in(usage):
        assert current_usage() is usage
    current_usage().begin(1.0, 1.0)
    clock(5)
    assert usage.so_far().gpu_s == 0.0

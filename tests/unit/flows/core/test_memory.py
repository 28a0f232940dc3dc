"""What a process remembers of runs is bounded, by their number and by what they hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows.core.graph import Node, validated
from flows.core.progress import Progress
from flows.core.records import Outcome, OutcomeKind, Run, RunStatus, TaskRun, TaskStatus
from flows.core.store import memory

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def begun(run_id):
    run = Run(
        id=run_id, flow="f", key=run_id, status=RunStatus.QUEUED, reason=None, source="m:f",
        config_digest="d", trigger={}, created_at=NOW, started_at=None, ended_at=None, seq=1,
    )  # fmt: skip
    graph = validated((Node(key="a", function="m:a", inputs={}),))
    task = TaskRun(run_id=run_id, key="a", status=TaskStatus.PENDING)
    progress = Progress(run, graph, {}, [task])
    progress.begin(NOW)
    return progress


def grown(progress, characters):
    attempt = progress.start("a", worker="w", executor="inline", now=NOW)
    value = f'"{"x" * (characters - 2)}"'
    outcome = Outcome(attempt_id=attempt.id, kind=OutcomeKind.SUCCEEDED, value=value)
    progress.finish(outcome, NOW, worker="w")


@pytest.fixture
def cache(monkeypatch):
    monkeypatch.setattr(memory, "CACHED_RUNS", 4)
    monkeypatch.setattr(memory, "CACHED_CHARACTERS", 1_000_000)
    return memory.RunCache()


def kept(cache):
    cache.begin()
    return [number for number in range(9) if cache.get(f"r{number}") is not None]


def test_of_many_runs_the_newest_are_kept(cache):
    for number in range(9):
        cache.remember(begun(f"r{number}"))
    assert kept(cache) == [5, 6, 7, 8]


def test_runs_that_have_grown_large_are_forgotten_the_oldest_first(cache):
    runs = [begun(f"r{number}") for number in range(4)]
    for progress in runs:
        cache.remember(progress)
    for progress in runs[:3]:
        grown(progress, 400_000)
    assert kept(cache) == [1, 2, 3]


def test_one_run_is_kept_however_large_it_is(cache):
    progress = begun("r0")
    cache.remember(progress)
    grown(progress, 2_000_000)
    assert kept(cache) == [0]

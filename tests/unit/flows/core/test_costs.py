"""What the event of an attempt's end says of its cost, and of what it made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.graph import Node, Ref, validated
from flows.core.progress import Progress
from flows.core.records import (
    Asset,
    ErrorInfo,
    Notice,
    Outcome,
    OutcomeKind,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
)
from flows.core.retry import Retry

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
ERROR = ErrorInfo(type="ValueError", message="no", kinds=("builtins.ValueError",))


def started(**options):
    graph = validated(
        (
            Node(key="a", function="m:a", inputs={}, **options),
            Node(key="b", function="m:b", inputs={"x": Ref(node="a")}),
        )
    )
    run = Run(
        id="r1", flow="f", key="r1", status=RunStatus.QUEUED, reason=None, source="m:f",
        config_digest="", trigger={}, created_at=NOW, started_at=None, ended_at=None, seq=1,
    )  # fmt: skip
    tasks = [TaskRun(run_id="r1", key=n.key, status=TaskStatus.PENDING) for n in graph.nodes]
    progress = Progress(run, graph, {}, tasks)
    progress.begin(NOW)
    attempt = progress.start("a", worker="w", executor="ray", now=NOW)
    progress.take()
    return progress, attempt


def outcome(attempt, kind, **fields):
    return Outcome(attempt_id=attempt.id, kind=kind, **fields)


@pytest.mark.parametrize(
    ("kind", "event", "ended"),
    [
        (OutcomeKind.SUCCEEDED, "task.succeeded", "succeeded"),
        (OutcomeKind.HALTED, "task.halted", "halted"),
        (OutcomeKind.SKIPPED, "task.skipped", "skipped"),
        (OutcomeKind.FAILED, "task.failed", "failed"),
        (OutcomeKind.LOST, "task.lost", "lost"),
    ],
)
def test_every_end_of_an_attempt_says_what_it_cost(kind, event, ended):
    progress, attempt = started()
    error = ERROR if kind is OutcomeKind.FAILED else None
    used = {"cpu_seconds": 2.5, "gpu_seconds": 4.0}
    ended_so = outcome(attempt, kind, reason="so", error=error, **used)
    progress.finish(ended_so, LATER, worker="w")
    (end,) = [e for e in progress.take().events if e.kind == event and e.task == "a"]
    cost = {"ended": ended, "executor": "ray", "seconds": 5.0, "cpu_s": 2.5, "gpu_s": 4.0}
    assert end.data.items() >= cost.items()


@pytest.mark.parametrize(
    ("why", "event", "ended"),
    [("timeout", "task.retry", "timed_out"), ("cancel", "task.cancelled", "cancelled")],
)
def test_an_attempt_that_was_ended_from_outside_says_so_with_its_cost(why, event, ended):
    progress, attempt = started(retry=Retry(attempts=2), timeout=1.0)
    if why == "cancel":
        progress.cancel("enough", NOW)
    else:
        progress.stopping(attempt, why)
    progress.finish(outcome(attempt, OutcomeKind.STOPPED), LATER, worker="w")
    (end,) = [e for e in progress.take().events if e.kind == event and e.task == "a"]
    assert end.data["ended"] == ended
    assert end.data["seconds"] == 5.0
    assert "cpu_s" not in end.data


def test_a_lost_worker_costs_what_is_known_its_time():
    progress, attempt = started()
    progress.lose(attempt, "its worker died", LATER)
    (end,) = [e for e in progress.take().events if e.kind == "task.lost"]
    assert (end.data["ended"], end.data["seconds"]) == ("lost", 5.0)


def test_each_asset_is_one_event_after_the_tasks_own_and_before_what_follows():
    progress, attempt = started()
    made = (Asset(name="table:x", version="7", at=NOW), Asset(name="model:m", version="2"))
    progress.finish(
        outcome(attempt, OutcomeKind.SUCCEEDED, value="1", assets=made), LATER, worker="w"
    )
    events = progress.take().events
    assert [e.kind for e in events] == [
        "task.succeeded", "asset.updated", "asset.updated", "task.ready",
    ]  # fmt: skip
    assert events[1].data == {
        "asset": "table:x", "version": "7", "at": NOW.isoformat(), "flow": "f",
    }  # fmt: skip
    assert events[2].data == {"asset": "model:m", "version": "2", "flow": "f"}
    assert (events[1].task, events[1].attempt) == ("a", 1)
    assert [e.seq for e in events] == list(range(events[0].seq, events[0].seq + 4))


def test_what_a_task_noticed_is_an_event_beside_what_it_made():
    progress, attempt = started()
    said = Notice(key="noticed:k", kind="noticed", title="t", reason="r", next="n")
    ended = replace(
        outcome(
            attempt, OutcomeKind.SUCCEEDED, value="1", assets=(Asset(name="a:b", version="1"),)
        ),
        notices=(said,),
    )
    progress.finish(ended, LATER, worker="w")
    events = progress.take().events
    assert [e.kind for e in events][:3] == ["task.succeeded", "asset.updated", "task.noticed"]
    assert events[2].data == {
        "key": "noticed:k", "kind": "noticed", "title": "t", "reason": "r", "next": "n",
    }  # fmt: skip


def test_a_task_that_halts_has_made_what_it_said():
    progress, attempt = started()
    made = (Asset(name="watermark:v/m", version="7"),)
    progress.finish(
        outcome(attempt, OutcomeKind.HALTED, reason="bad", assets=made), LATER, worker="w"
    )
    kinds = [e.kind for e in progress.take().events]
    assert kinds.index("asset.updated") == kinds.index("task.halted") + 1

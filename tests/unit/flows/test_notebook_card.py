"""A run as a cell shows it, and the words in which durations and tasks are said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import Retry, flow, task
from flows.adapters.ray_executor import job_id
from flows.core.records import (
    Attempt,
    AttemptStatus,
    ErrorInfo,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
)
from flows.core.store.reads import RunDetail
from flows.notebook.card import SHOWN_CHILDREN, card
from flows.notebook.handle import log_of
from flows.wording import duration, tasks_of
from registry import Decision, Rule, RuleResult, Verdict

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RUN = Run(
    id="260301-115800-7f3a2k",
    flow="squares",
    key="k",
    status=RunStatus.RUNNING,
    reason=None,
    source="team:squares",
    config_digest="",
    trigger={},
    created_at=NOW - timedelta(seconds=90),
    started_at=NOW - timedelta(seconds=83),
    ended_at=None,
    seq=1,
)
VERDICT = Verdict(
    model="digits",
    challenger="3",
    champion="2",
    epoch=2,
    decision=Decision.HOLD,
    promote=False,
    reason="Version 3 is not better.",
    metric="accuracy",
    challenger_score=0.96,
    baseline=0.9583,
    difference=0.0017,
    low=-0.004,
    high=0.0085,
    confidence=0.95,
    rows=1360,
    rules=(
        RuleResult(
            rule=Rule.IMPROVEMENT,
            metric="accuracy",
            passed=False,
            figure=0.0017,
            low=-0.004,
            high=0.0085,
            bound=0.005,
            rows=1360,
            message="At least 0.005 is needed.",
        ),
    ),
    run_id="r",
    mlflow_run_id="m",
)


@task
def numbers() -> list[int]:
    return [1]


@task(retry=Retry(attempts=3))
def square(number: int) -> int:
    return number * number


@flow
def squares() -> None:
    square.map(numbers())


def of(key: str, status: TaskStatus, **fields: Any) -> TaskRun:
    began = None if status in (TaskStatus.PENDING, TaskStatus.READY) else NOW - timedelta(seconds=5)
    ended = NOW if status.ended else None
    return TaskRun(
        run_id=RUN.id, key=key, status=status, started_at=began, ended_at=ended, **fields
    )


def detail(*tasks: TaskRun, run: Run = RUN) -> RunDetail:
    return RunDetail(run=run, graph=squares.graph, config_yaml="", tasks=tasks, attempts=())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0s"),
        (0.42, "0.4s"),
        (9.949, "9.9s"),
        (9.95, "10s"),
        (59.6, "1m 00s"),
        (83, "1m 23s"),
        (7500, "2h 05m"),
        (3 * 86400 + 4 * 3600, "3d 04h"),
    ],
)
def test_a_duration_is_said_at_a_glance(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_running_run_counts_its_seconds_and_hides_what_has_not_begun() -> None:
    html = card(detail(of("numbers", TaskStatus.RUNNING), of("square", TaskStatus.PENDING)), NOW)
    assert "1m 23s" in html
    assert "5.0s" in html
    assert "<td>pending" not in html
    assert "pending</td>" not in html


def test_a_mapped_task_is_one_line_and_only_its_children_in_trouble_have_their_own() -> None:
    children = [
        of(
            f"square[{i}]",
            TaskStatus.FAILED
            if i == 30
            else TaskStatus.SUCCEEDED
            if i < 20
            else TaskStatus.RUNNING,
        )
        for i in range(40)
    ]
    run = detail(of("numbers", TaskStatus.SUCCEEDED), of("square", TaskStatus.RUNNING), *children)
    html = card(run, NOW)
    assert "21 of 40" in html
    assert html.count("square[") == SHOWN_CHILDREN
    assert html.index("square[30]") < html.index("square[20]")
    assert tasks_of(run, NOW)["square"].children == 40


def test_a_task_that_is_tried_again_shows_its_error_and_the_hint() -> None:
    error = ErrorInfo(
        type="NotEnoughResources",
        message="4 GPUs & none there",
        trace="Traceback\n" + "line\n" * 100 + "NotEnoughResources: 4 GPUs & none there",
        hint="set trainer.num_gpus=0",
    )
    html = card(
        detail(of("numbers", TaskStatus.RETRYING, attempt=2, reason="4 GPUs & none", error=error)),
        NOW,
    )
    assert "attempt 2 · 4 GPUs &amp; none · → set trainer.num_gpus=0" in html
    assert "NotEnoughResources: 4 GPUs &amp; none there</pre>" in html
    assert html.count("line\n") < 30


def test_a_reason_is_not_said_twice() -> None:
    halted = replace(RUN, status=RunStatus.HALTED, reason=VERDICT.reason, ended_at=NOW)
    html = card(detail(of("numbers", TaskStatus.HALTED), run=halted), NOW, VERDICT)
    assert html.count("Version 3 is not better.") == 1
    assert "At least 0.005 is needed." in html
    assert "<b>0.9583</b><span class='c-dim'>champion v2</span>" in html
    assert "<b>1,360</b><span class='c-dim'>held-out rows</span>" in html


def test_what_stopped_the_session_is_said_as_long_as_the_run_has_not_ended() -> None:
    stopped = RuntimeError("out of <disk>")
    assert "out of &lt;disk&gt;" in card(detail(), NOW, stopped=stopped)
    ended = replace(RUN, status=RunStatus.SUCCEEDED, ended_at=NOW)
    assert "disk" not in card(detail(run=ended), NOW, stopped=stopped)


def test_a_verdict_without_a_difference_has_no_picture() -> None:
    html = card(detail(), NOW, VERDICT)
    assert "c-row" in html
    rules = tuple(replace(rule, figure=None, low=None, high=None) for rule in VERDICT.rules)
    first = replace(VERDICT, champion=None, difference=None, low=None, high=None, baseline=None)
    html = card(detail(), NOW, replace(first, rules=rules))
    assert "<div class='c-row" not in html
    assert "champion v" not in html


def test_the_log_of_a_ray_job_is_read_where_the_job_left_it(tmp_path: Path) -> None:
    attempt = Attempt(
        id=f"{RUN.id}.square[3].1",
        run_id=RUN.id,
        key="square[3]",
        number=1,
        status=AttemptStatus.RUNNING,
        executor="ray",
        worker="w",
        started_at=NOW,
    )
    job = tmp_path / "artifacts" / "jobs" / job_id(attempt.id)
    job.mkdir(parents=True)
    (job / "log.txt").write_text("on the cluster\n")
    ratchet: Any = SimpleNamespace(
        logs=tmp_path / "logs", settings=SimpleNamespace(artifacts=str(tmp_path / "artifacts"))
    )
    assert log_of(attempt, ratchet) == "on the cluster\n"
    copied = tmp_path / "logs" / RUN.id / "square[3].1.log"
    copied.parent.mkdir(parents=True)
    copied.write_text("copied here\n")
    assert log_of(attempt, ratchet) == "copied here\n"

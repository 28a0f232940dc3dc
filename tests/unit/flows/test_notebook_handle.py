"""A run that was started from a cell: watched, waited for, asked, ended, and taken up again."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows import Flow, Halt, flow, task, when
from flows.adapters.alerts import Alerts
from flows.bootstrap import open_project
from flows.core.alert import Alert, AlertStatus
from flows.core.engine import Engine
from flows.core.errors import LeaseLost, NotFound, Refused, StoreError
from flows.core.records import RunStatus, TaskStatus
from flows.notebook import RunHandle
from flows.notebook.driver import Driver
from flows.notebook.handle import RunFailed
from flows.settings import ExecutorName
from registry import Decision, Verdict

PATIENCE = 60.0
"""Seconds that a slow machine gets; a test that passes needs none of them."""

ran: list[str] = []
gate = threading.Event()


@dataclass(frozen=True, kw_only=True)
class Found:
    rows: int
    at: datetime


@task
def look() -> Found:
    ran.append("look")
    print("looking")  # noqa: T201
    return Found(rows=3, at=datetime(2026, 3, 1, tzinfo=UTC))


@task
def judge(found: Found) -> Verdict:
    return Verdict(
        model="digits",
        challenger="2",
        champion="1",
        epoch=1,
        decision=Decision.HOLD,
        promote=False,
        reason="not <better>",
        metric="accuracy",
        challenger_score=0.91,
        baseline=0.9,
        difference=0.01,
        low=-0.02,
        high=0.04,
        confidence=0.95,
        rows=found.rows,
        rules=(),
        run_id="r",
        mlflow_run_id="m",
    )


@task
def stop(verdict: Verdict) -> None:
    raise Halt(verdict.reason)


@task
def go(verdict: Verdict) -> None: ...


@flow
def judged() -> None:
    verdict = judge(look())
    when(verdict.promote).then(go(verdict))
    when(~verdict.promote).then(stop(verdict))


@task
def numbers() -> list[int]:
    return [1, 2, 3]


@task
def square(number: int) -> int:
    return number * number


@flow
def squares() -> None:
    square.map(numbers())


@task
def waits() -> int:
    ran.append("waits")
    gate.wait(PATIENCE)
    return 1


@task
def after(number: int) -> int:
    ran.append("after")
    return number + 1


@flow
def slow() -> None:
    after(waits())


@task
def breaks_once(found: Found) -> int:
    ran.append("breaks_once")
    if ran.count("breaks_once") == 1:
        raise ValueError("no <such> luck")
    return found.rows


@flow
def unlucky() -> None:
    breaks_once(look())


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran.clear()
    gate.clear()
    yield
    gate.set()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(open_project(tmp_path, [f"home={tmp_path}/home"]), ExecutorName.THREADS.value)
    yield made
    gate.set()
    made.close(PATIENCE)


@pytest.fixture
def start(driver: Driver) -> Callable[..., RunHandle]:
    def start(flow: Flow, key: str | None = None) -> RunHandle:
        run = driver.start(flow, [], trigger={"kind": "test"}, key=key)
        return RunHandle(run.id, flow, driver)

    return start


Start = Callable[..., RunHandle]


# ---------------------------------------------------------------------- to the end


def test_a_run_goes_to_its_end_and_its_values_have_their_types(start: Start) -> None:
    run = start(judged).wait(PATIENCE)
    assert run.status is RunStatus.HALTED
    assert run.reason == "not <better>"
    assert run.result("look") == Found(rows=3, at=datetime(2026, 3, 1, tzinfo=UTC))
    assert run.verdict is not None
    assert (run.verdict.decision, run.verdict.rows) == (Decision.HOLD, 3)
    assert [event.kind for event in run.events()][-1] == "run.halted"


def test_a_mapped_task_gives_its_list_and_each_child_its_own_value(start: Start) -> None:
    run = start(squares).wait(PATIENCE)
    assert run.result("square") == [1, 4, 9]
    assert run.result("square[2]") == 9
    assert run.tasks["square"].ended_children == 3


def test_wait_raises_nothing_for_a_halt_and_raise_for_status_does(start: Start) -> None:
    run = start(judged).wait(PATIENCE)
    with pytest.raises(RunFailed, match=r"halted.*not <better>"):
        run.raise_for_status()
    good = start(squares).wait(PATIENCE)
    assert good.raise_for_status() is good


def test_the_same_key_is_the_same_run(start: Start) -> None:
    first = start(squares, key="night-1").wait(PATIENCE)
    assert start(squares, key="night-1").wait(PATIENCE).id == first.id


def test_runs_of_one_driver_go_on_side_by_side(start: Start) -> None:
    waiting = start(slow)
    assert start(squares).wait(PATIENCE).status is RunStatus.SUCCEEDED
    assert not waiting.status.ended
    gate.set()
    assert waiting.wait(PATIENCE).result("after") == 2


# ---------------------------------------------------------------------- asking too early


def test_what_is_not_there_yet_is_refused_with_what_to_do(start: Start) -> None:
    run = start(slow)
    with pytest.raises(Refused, match="without a verdict") as refused:
        _ = run.verdict
    assert refused.value.hint == "run.wait()"
    with pytest.raises(Refused, match="after is still pending"):
        run.result("after")
    with pytest.raises(Refused, match="still"):
        run.raise_for_status()


def test_a_run_that_ended_without_a_verdict_has_none(start: Start) -> None:
    run = start(squares).wait(PATIENCE)
    assert (run.verdict, run.card, run.evidence) == (None, None, None)


def test_the_evidence_is_that_of_the_model_that_the_run_is_about(start: Start) -> None:
    found = start(judged).wait(PATIENCE).evidence
    assert found is not None
    assert (found.model, found.night, found.waiting) == ("digits", None, ())
    assert "The gate has not judged a challenger yet." in found._repr_html_()


def test_a_task_without_a_value_says_why(start: Start) -> None:
    run = start(judged).wait(PATIENCE)
    with pytest.raises(
        Refused, match=r"go returned nothing: it was skipped: judge.promote is false"
    ):
        run.result("go")


def test_an_unknown_task_names_the_nearest(start: Start) -> None:
    run = start(judged).wait(PATIENCE)
    with pytest.raises(NotFound, match="no task 'juge'") as missing:
        run.result("juge")
    assert missing.value.hint == "it has judge"


def test_logs_are_the_text_of_an_attempt(start: Start) -> None:
    run = start(judged).wait(PATIENCE)
    assert run.logs("look") == "looking\n"
    assert repr(run.logs("look")) == "looking\n"
    assert run.logs("judge") == ""
    assert run.logs("go") == ""
    with pytest.raises(NotFound, match="look has no attempt 2"):
        run.logs("look", attempt=2)


# ---------------------------------------------------------------------- ending and going on


def test_a_cancelled_run_ends_once_nothing_of_it_is_alive(start: Start) -> None:
    run = start(slow)
    until_running(run)
    run.cancel()
    assert run.status is RunStatus.CANCELLING
    gate.set()
    assert run.wait(PATIENCE).status is RunStatus.CANCELLED
    assert "after" not in ran
    assert (run.reason or "").startswith("cancelled by ")
    with pytest.raises(Refused):
        run.cancel()


def test_a_retry_runs_only_what_had_not_succeeded(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(unlucky).wait(PATIENCE)
    assert run.reason == "breaks_once: ValueError: no <such> luck"
    assert "ValueError" in run.tasks["breaks_once"].error.trace  # type: ignore[union-attr]
    assert run.retry().wait(PATIENCE).result("breaks_once") == 3
    assert ran == ["look", "breaks_once", "breaks_once"]
    with pytest.raises(Refused, match="nothing to retry"):
        run.retry()


def test_a_wait_that_takes_too_long_raises_and_leaves_the_run_alone(start: Start) -> None:
    run = start(slow)
    with pytest.raises(TimeoutError, match=f"run {run.id} is still"):
        run.wait(timeout=0.05)
    gate.set()
    assert run.wait(PATIENCE).status is RunStatus.SUCCEEDED


def until_running(run: RunHandle) -> int:
    """Return when the first task of `slow` runs."""
    seen = -1
    while run.tasks["waits"].status is not TaskStatus.RUNNING:
        seen = run.follow(seen)
    return seen


def interrupt_once_running(run: RunHandle, *, release: bool) -> threading.Thread:
    """Press Ctrl-C as soon as the run's first task runs; and let that end once it is told to."""

    def press() -> None:
        seen = until_running(run)
        os.kill(os.getpid(), signal.SIGINT)
        while run.status is not RunStatus.CANCELLING:
            seen = run.follow(seen)
        if release:
            gate.set()
        else:
            os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press, daemon=True)
    pressing.start()
    return pressing


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As a notebook's kernel is; what a shell starts in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_and_goes_on_once_everything_is_gone(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(slow)
    pressing = interrupt_once_running(run, release=True)
    with pytest.raises(KeyboardInterrupt):
        run.wait(PATIENCE)
    pressing.join()
    assert run.status is RunStatus.CANCELLED
    assert "cancelling run" in capsys.readouterr().out


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_leaves_at_once(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(slow)
    pressing = interrupt_once_running(run, release=False)
    with pytest.raises(KeyboardInterrupt):
        run.wait(PATIENCE)
    pressing.join()
    assert run.status is RunStatus.CANCELLING


# ---------------------------------------------------------------------- the driver


@dataclass
class Engines:
    """What became of the engines of a test."""

    opened: int
    closed: threading.Semaphore


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    seen = Engines(opened=0, closed=threading.Semaphore(0))
    open_engine, close_engine = Engine.open, Engine.close

    def opened(self: Engine) -> None:
        seen.opened += 1
        open_engine(self)

    def closed(self: Engine) -> None:
        close_engine(self)
        seen.closed.release()

    monkeypatch.setattr(Engine, "open", opened)
    monkeypatch.setattr(Engine, "close", closed)
    return seen


def test_the_engine_of_one_run_serves_the_next(start: Start, engines: Engines) -> None:
    assert start(squares).wait(PATIENCE).status is RunStatus.SUCCEEDED
    assert start(squares).wait(PATIENCE).status is RunStatus.SUCCEEDED
    assert engines.opened == 1


def test_an_idle_engine_is_closed_and_the_next_run_has_another(
    tmp_path: Path, engines: Engines
) -> None:
    driver = Driver(open_project(tmp_path, [f"home={tmp_path}/home"]), "threads", idle=0.0)
    for count in (1, 2):
        run = RunHandle(driver.start(squares, [], trigger={}, key=None).id, squares, driver)
        assert run.wait(PATIENCE).status is RunStatus.SUCCEEDED
        assert engines.closed.acquire(timeout=PATIENCE)
        assert engines.opened == count
    assert driver.close(PATIENCE) == ()


def failing_first(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int = 1) -> None:
    """The engine's first passes raise."""
    left = [error] * times
    tick = Engine.tick

    def tick_or_raise(self: Engine, now: datetime) -> Any:
        if left:
            raise left.pop()
        return tick(self, now)

    monkeypatch.setattr(Engine, "tick", tick_or_raise)


def test_a_lost_lease_is_followed_by_a_new_worker(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_first(monkeypatch, LeaseLost("the machine slept"))
    assert start(squares).wait(PATIENCE).status is RunStatus.SUCCEEDED


def test_a_store_that_fails_for_a_moment_is_tried_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_first(monkeypatch, StoreError("the disk is full"))
    assert start(squares).wait(PATIENCE).status is RunStatus.SUCCEEDED


def test_whatever_stops_the_driver_is_raised_where_somebody_waits(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_first(monkeypatch, RuntimeError("something unforeseen"))
    run = start(squares)
    with pytest.raises(RuntimeError, match="something unforeseen"):
        run.wait(PATIENCE)
    assert "something unforeseen" in run._repr_html_()
    assert run.wait(PATIENCE).status is RunStatus.SUCCEEDED


def test_an_engine_that_cannot_open_is_raised_where_somebody_waits(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Engine) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Engine, "open", full)
        run = start(squares)
        with pytest.raises(StoreError, match="the disk is full"):
            run.wait(PATIENCE)
    assert run.wait(PATIENCE).status is RunStatus.SUCCEEDED


def test_a_closed_driver_leaves_a_run_that_can_be_taken_up_again(
    driver: Driver, start: Start, tmp_path: Path
) -> None:
    run = start(slow)
    until_running(run)
    gate.set()
    left = driver.close(PATIENCE)
    assert set(left) <= {run.id}
    assert run.wait(PATIENCE).status is RunStatus.SUCCEEDED


def test_an_ending_that_alerts_is_told(
    driver: Driver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    send = Alerts.send

    def send_and_tell(self: Alerts, alert: Alert, channel: str) -> Any:
        delivered = send(self, alert, channel)
        told.set()
        return delivered

    monkeypatch.setattr(Alerts, "send", send_and_tell)
    start(judged).wait(PATIENCE)
    assert told.wait(PATIENCE)
    (line,) = (driver.ratchet.home / "alerts.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "not <better>"
    driver.close(PATIENCE)
    (record,) = driver.ratchet.service.store.outbox.list()
    assert record.status is AlertStatus.DELIVERED


def test_a_flow_that_is_written_anew_in_a_cell_takes_the_place_of_the_old_one(
    start: Start,
) -> None:
    assert start(squares).wait(PATIENCE).result("square") == [1, 4, 9]
    again = flow(name="squares")(squares.function)
    assert start(again).wait(PATIENCE).result("square") == [1, 4, 9]


# ---------------------------------------------------------------------- how it looks


def test_the_card_is_escaped_and_shows_reason_verdict_and_tasks(start: Start) -> None:
    html = start(judged).wait(PATIENCE)._repr_html_()
    assert "not &lt;better&gt;" in html
    assert "not <better>" not in html
    assert "95% interval -0.02 to +0.04" in html
    assert "judge.promote is false" in html
    assert "<script" not in html


def test_the_card_of_a_failed_run_shows_the_error_where_it_was_raised(start: Start) -> None:
    html = start(unlucky).wait(PATIENCE)._repr_html_()
    assert "ValueError: no &lt;such&gt; luck" in html
    assert "where breaks_once raised it" in html
    assert "line" in html


def test_a_run_and_its_tasks_say_in_one_line_where_they_stand(start: Start) -> None:
    run = start(judged).wait(PATIENCE)
    assert repr(run).startswith(f"<run {run.id} of judged: halted after ")
    assert repr(run.tasks["go"]) == "<go: skipped, judge.promote is false>"
    assert set(run._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_in_a_terminal_a_line_is_printed_for_each_thing_that_happens(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(judged)
    run.show()
    run.wait(PATIENCE)
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == f"run {run.id} of judged has begun; run.wait() follows"
    assert "● judge running" in [line[9:] for line in lines]
    assert lines[-1][9:] == "■ stop halted: not <better>"
    assert last == repr(run)


def test_a_run_that_is_not_shown_prints_nothing(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start(squares).wait(PATIENCE)
    assert capsys.readouterr().out == ""

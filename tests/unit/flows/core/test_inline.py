"""What is particular to the inline executor."""

from __future__ import annotations

import pytest

from flows.core.errors import ExecutorError
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.protocol import Outcome, OutcomeKind, Work


def work(call: object) -> Work:
    return Work(
        attempt_id="r.t.1",
        run_id="r",
        flow="f",
        task="t",
        number=1,
        function="__main__:nowhere",
        arguments="{}",
        call=call,  # type: ignore[arg-type]
    )


def test_the_outcome_is_delivered_before_start_returns() -> None:
    delivered: list[Outcome] = []
    executor = InlineExecutor()
    executor.open(delivered.append)
    executor.start(work(lambda: 42))
    assert [outcome.value for outcome in delivered] == ["42"]


def test_an_interrupt_from_the_keyboard_ends_the_work_and_goes_on_to_the_caller() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    delivered: list[Outcome] = []
    executor = InlineExecutor()
    executor.open(delivered.append)
    with pytest.raises(KeyboardInterrupt):
        executor.start(work(interrupted))
    assert [(o.kind, o.reason) for o in delivered] == [
        (OutcomeKind.STOPPED, "interrupted from the keyboard")
    ]


def test_nothing_is_run_before_open_or_after_close() -> None:
    executor = InlineExecutor()
    with pytest.raises(ExecutorError, match="not open"):
        executor.start(work(pytest.fail))
    executor.open(pytest.fail)
    executor.close()
    with pytest.raises(ExecutorError, match="not open"):
        executor.start(work(pytest.fail))

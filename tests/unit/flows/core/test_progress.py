"""What one run does next, decided in memory without IO."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.errors import Refused
from flows.core.graph import Condition, Const, Node, Ref, RunIf, validated
from flows.core.progress import Progress
from flows.core.records import (
    ErrorInfo,
    Outcome,
    OutcomeKind,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
)
from flows.core.retry import Retry

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def node(key, *before, **options):
    inputs = {f"x{i}": Ref(node=b) for i, b in enumerate(before)}
    return Node(
        key=key, function=f"m:{key}", inputs={**inputs, **options.pop("inputs", {})}, **options
    )


def progress(*nodes):
    graph = validated(nodes)
    run = Run(
        id="r1", flow="f", key="r1", status=RunStatus.QUEUED, reason=None, source="m:f",
        config_digest="", trigger={}, created_at=NOW, started_at=None, ended_at=None, seq=0,
    )  # fmt: skip
    made = Progress(
        run, graph, {"depth": 3},
        [TaskRun(run_id="r1", key=n.key, status=TaskStatus.PENDING) for n in graph.nodes],
    )  # fmt: skip
    made.begin(NOW)
    return made


def start(p, key, now=NOW):
    return p.start(key, worker="w", executor="inline", now=now)


def end(p, key, kind=OutcomeKind.SUCCEEDED, now=NOW, **fields):
    attempt = p.attempts.get(key) or start(p, key, now)
    assert p.finish(Outcome(attempt_id=attempt.id, kind=kind, **fields), now, worker=attempt.worker)


def fail(p, key, now=NOW, permanent=False):
    error = ErrorInfo(
        type="ValueError", message="no", kinds=("builtins.ValueError",), permanent=permanent
    )
    end(p, key, OutcomeKind.FAILED, now, error=error)


def statuses(p):
    return {key: str(task.status) for key, task in p.tasks.items()}


def test_tasks_become_ready_as_what_they_wait_for_succeeds():
    p = progress(node("a"), node("b", "a"), node("c", "a", "b"))
    assert list(p.claimable(NOW)) == ["a"]
    end(p, "a", value="1")
    assert list(p.claimable(NOW)) == ["b"]
    end(p, "b", value="2")
    assert p.arguments("c") == {"x0": 1, "x1": 2}
    end(p, "c", value="3")
    assert p.run.status is RunStatus.SUCCEEDED


def test_a_failure_skips_what_depends_on_it_and_fails_the_run_with_its_reason():
    p = progress(node("a"), node("b", "a"), node("c", "b"), node("d"))
    fail(p, "a")
    assert p.run.status is RunStatus.RUNNING  # d can still run
    end(p, "d")
    assert statuses(p) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "succeeded"}
    assert (p.run.status, p.run.reason) == (RunStatus.FAILED, "a: ValueError: no")


@pytest.mark.parametrize(
    ("rule", "first", "second", "runs"),
    [
        (RunIf.ALL_SUCCEEDED, "ok", "ok", True),
        (RunIf.ALL_SUCCEEDED, "ok", "skip", False),
        (RunIf.ALL_SUCCEEDED, "ok", "fail", False),
        (RunIf.NONE_FAILED, "ok", "skip", True),
        (RunIf.NONE_FAILED, "skip", "skip", False),
        (RunIf.NONE_FAILED, "ok", "fail", False),
        (RunIf.ANY_FAILED, "ok", "fail", True),
        (RunIf.ANY_FAILED, "ok", "ok", False),
        (RunIf.ALL_DONE, "skip", "fail", True),
        (RunIf.ALL_DONE, "ok", "ok", True),
    ],
)
def test_a_trigger_rule_decides_by_how_the_tasks_before_ended(rule, first, second, runs):
    p = progress(node("a"), node("b"), node("c", after=("a", "b"), run_if=rule))
    for key, how in (("a", first), ("b", second)):
        if how == "ok":
            end(p, key)
        elif how == "skip":
            end(p, key, OutcomeKind.SKIPPED, reason="nothing")
        else:
            fail(p, key)
    assert (list(p.claimable(NOW)) == ["c"]) is runs
    assert p.tasks["c"].status is (TaskStatus.READY if runs else TaskStatus.SKIPPED)


@pytest.mark.parametrize("good", [True, False])
def test_a_condition_chooses_the_branch_and_says_why_the_other_was_skipped(good):
    literal = Ref(node="a", path=("good",))
    p = progress(
        node("a"),
        node("yes", condition=Condition(literals=((literal, True),))),
        node("no", condition=Condition(literals=((literal, False),))),
    )
    end(p, "a", value=json.dumps({"good": good}))
    taken, left = ("yes", "no") if good else ("no", "yes")
    assert list(p.claimable(NOW)) == [taken]
    assert p.tasks[left].reason == f"a.good is {'true' if good else 'false'}"


def test_a_mapped_task_gets_a_child_per_element_and_collects_their_values_in_order():
    p = progress(
        node("a"), node("m", "a", over="x0", inputs={"k": Const(const="v")}), node("z", "m")
    )
    end(p, "a", value="[10,20,30]")
    assert list(p.claimable(NOW)) == ["m[0]", "m[1]", "m[2]"]
    assert p.arguments("m[1]") == {"x0": 20, "k": "v"}
    for key, value in (("m[2]", "3"), ("m[0]", "1"), ("m[1]", "2")):
        end(p, key, value=value)
    assert p.arguments("z") == {"x0": [1, 2, 3]}


def test_a_mapped_task_over_an_empty_list_succeeds_with_an_empty_list():
    p = progress(node("a"), node("m", "a", over="x0"), node("z", "m"))
    end(p, "a", value="[]")
    assert p.tasks["m"].value == "[]"
    assert list(p.claimable(NOW)) == ["z"]


def test_a_mapped_task_fails_when_a_child_does_after_the_others_have_ended():
    p = progress(node("a"), node("m", "a", over="x0"))
    end(p, "a", value="[1,2]")
    fail(p, "m[0]")
    assert p.tasks["m"].status is TaskStatus.RUNNING
    end(p, "m[1]", value="2")
    assert p.run.reason == "m: 1 of 2 failed; m[0]: ValueError: no"


def test_a_halt_ends_the_run_halted_with_the_reason():
    p = progress(node("a"), node("b", "a"))
    end(p, "a", OutcomeKind.HALTED, reason="the data is bad")
    assert (p.run.status, p.run.reason) == (RunStatus.HALTED, "the data is bad")
    assert p.tasks["b"].reason == "a was halted"


def test_a_run_in_which_everything_follows_from_a_skip_is_skipped_with_its_reason():
    p = progress(node("a"), node("b", "a"), node("c", "b"))
    end(p, "a", OutcomeKind.SKIPPED, reason="no new data")
    assert (p.run.status, p.run.reason) == (RunStatus.SKIPPED, "no new data")


def test_a_retry_waits_as_its_policy_says_and_then_counts_down():
    p = progress(node("a", retry=Retry(attempts=2, delay=10)))
    fail(p, "a")
    assert p.tasks["a"].status is TaskStatus.RETRYING
    assert list(p.claimable(NOW)) == []
    later = NOW + timedelta(seconds=10)
    assert p.next_ready() == later
    assert list(p.claimable(later)) == ["a"]
    fail(p, "a", later)
    assert (p.tasks["a"].attempt, p.run.status) == (2, RunStatus.FAILED)


def test_a_permanent_error_is_not_retried():
    p = progress(node("a", retry=Retry(attempts=5)))
    fail(p, "a", permanent=True)
    assert p.tasks["a"].status is TaskStatus.FAILED


def test_lost_attempts_are_started_again_without_using_up_tries_but_not_for_ever():
    p = progress(node("a", retry=Retry(attempts=1, lost=2)))
    for number in (1, 2):
        p.lose(start(p, "a"), "its worker died", NOW)
        assert (p.tasks["a"].status, p.tasks["a"].losses) == (TaskStatus.RETRYING, number)
    p.lose(start(p, "a"), "its worker died", NOW)
    assert p.run.status is RunStatus.FAILED


def test_the_end_of_an_attempt_that_is_not_alive_is_not_recorded():
    p = progress(node("a", retry=Retry(lost=2)))
    old = start(p, "a")
    p.lose(old, "its lease ran out", NOW)
    new = start(p, "a")
    assert not p.finish(
        Outcome(attempt_id=old.id, kind=OutcomeKind.SUCCEEDED, value="1"), NOW, worker=old.worker
    )
    assert p.live(new.id) is new


def test_cancelling_ends_what_waits_at_once_and_the_run_only_when_nothing_is_alive():
    p = progress(node("a"), node("b"), node("c", "a"))
    running = start(p, "a")
    p.cancel("cancelled by ada", NOW)
    assert p.run.status is RunStatus.CANCELLING
    assert p.tasks["b"].status is TaskStatus.CANCELLED
    assert list(p.claimable(NOW)) == []
    p.finish(Outcome(attempt_id=running.id, kind=OutcomeKind.STOPPED), NOW, worker=running.worker)
    assert statuses(p) == {"a": "cancelled", "b": "cancelled", "c": "cancelled"}
    assert (p.run.status, p.run.reason) == (RunStatus.CANCELLED, "cancelled by ada")


def test_work_that_ended_by_itself_while_being_cancelled_keeps_its_result():
    p = progress(node("a"), node("b", "a"))
    start(p, "a")
    p.cancel("cancelled by ada", NOW)
    end(p, "a", value="1")
    assert (p.tasks["a"].value, p.run.status) == ("1", RunStatus.CANCELLED)


def test_a_queued_run_is_cancelled_at_once():
    p = progress(node("a"))
    p.cancel("cancelled by ada", NOW)
    assert p.run.status is RunStatus.CANCELLED


def test_a_timeout_is_a_failure_that_the_policy_may_retry():
    p = progress(node("a", timeout=5, retry=Retry(attempts=2)))
    p.stopping(start(p, "a"), "timeout")
    end(p, "a", OutcomeKind.STOPPED)
    assert p.tasks["a"].status is TaskStatus.RETRYING
    assert p.tasks["a"].reason == "TimedOut: a was ended after its timeout of 5 s"


def test_a_retried_run_keeps_what_succeeded_and_decides_the_rest_again():
    p = progress(node("a"), node("b", "a"), node("m", "a", over="x0"), node("z", "b"))
    end(p, "a", value="[1,2]")
    end(p, "m[0]", value="1")
    fail(p, "m[1]")
    fail(p, "b")
    assert p.run.status is RunStatus.FAILED
    p.reopen(NOW)
    assert p.run.status is RunStatus.RUNNING
    assert sorted(p.claimable(NOW)) == ["b", "m[1]"]
    end(p, "b", value="0")
    end(p, "m[1]", value="2")
    end(p, "z")
    assert (p.tasks["m"].value, p.run.status) == ("[1,2]", RunStatus.SUCCEEDED)
    assert p.tasks["a"].attempt == 1


@pytest.mark.parametrize("rule", [RunIf.ALL_DONE, RunIf.NONE_FAILED, RunIf.ANY_FAILED])
def test_a_retry_decides_again_on_what_ran_on_a_failure(rule):
    p = progress(node("a"), node("good"), node("join", "a", "good", run_if=rule), node("z", "join"))
    end(p, "good", value="1")
    fail(p, "a")
    if rule is not RunIf.NONE_FAILED:
        end(p, "join", value='"a failed"')
        end(p, "z", value="0")
    p.reopen(NOW)
    assert list(p.claimable(NOW)) == ["a"]
    end(p, "a", value="41")
    assert p.tasks["join"].value is None
    if rule is RunIf.ANY_FAILED:
        assert (p.tasks["join"].status, p.run.status) == (TaskStatus.SKIPPED, RunStatus.SUCCEEDED)
        return
    assert p.arguments("join") == {"x0": 41, "x1": 1}
    end(p, "join", value='"both"')
    end(p, "z", value="1")
    assert (p.tasks["z"].value, p.run.status) == ("1", RunStatus.SUCCEEDED)


def test_a_retry_leaves_alone_what_saw_no_failure():
    no = Condition(literals=((Ref(node="a", path=("go",)), True),))
    p = progress(
        node("a"), node("b", condition=no), node("join", "b", "a", run_if=RunIf.NONE_FAILED),
        node("bad"), node("m", "list", over="x0"), node("list"),
    )  # fmt: skip
    end(p, "a", value='{"go":false}')
    end(p, "join", value="1")
    end(p, "list", value="[1,2]")
    end(p, "m[0]", OutcomeKind.SKIPPED, reason="nothing in it")
    end(p, "m[1]", value="2")
    fail(p, "bad")
    before = statuses(p)
    p.reopen(NOW)
    assert statuses(p) == {**before, "bad": "ready"}
    end(p, "bad")
    assert p.run.status is RunStatus.SUCCEEDED


def test_a_retried_map_does_every_element_again_when_its_list_is_made_again():
    p = progress(
        node("a"), node("list", "a", run_if=RunIf.ALL_DONE), node("m", "list", over="x0"),
        node("sum", "m"),
    )  # fmt: skip
    fail(p, "a")
    end(p, "list", value="[7,8,9]")
    for index in range(3):
        end(p, f"m[{index}]", value=str(index))
    end(p, "sum", value="3")
    p.reopen(NOW)
    end(p, "a")
    end(p, "list", value="[1,2]")
    assert list(p.claimable(NOW)) == ["m[0]", "m[1]"]
    assert p.tasks["m[2]"].reason == "its list has fewer elements now"
    end(p, "m[0]", value="10")
    end(p, "m[1]", value="20")
    assert p.arguments("sum") == {"x0": [10, 20]}
    end(p, "sum", value="30")
    assert p.run.status is RunStatus.SUCCEEDED


def test_no_element_of_a_map_stays_pending_when_the_retried_map_is_skipped():
    p = progress(
        node("a"), node("list", "a", run_if=RunIf.ANY_FAILED), node("m", "list", over="x0")
    )
    fail(p, "a")
    end(p, "list", value="[7]")
    end(p, "m[0]", value="7")
    p.reopen(NOW)
    end(p, "a")
    assert statuses(p) == {"a": "succeeded", "list": "skipped", "m": "skipped", "m[0]": "skipped"}


def test_an_element_that_skips_is_left_out_of_the_list():
    p = progress(node("a"), node("m", "a", over="x0"), node("sum", "m"))
    end(p, "a", value="[1,2,3]")
    end(p, "m[0]", value="1")
    end(p, "m[1]", OutcomeKind.SKIPPED, reason="nothing in it")
    end(p, "m[2]", value="3")
    assert p.arguments("sum") == {"x0": [1, 3]}


@pytest.mark.parametrize("how", ["succeeded", "running"])
def test_a_run_that_succeeded_or_still_runs_is_not_reopened(how):
    p = progress(node("a"))
    start(p, "a")
    if how == "succeeded":
        end(p, "a")
    with pytest.raises(Refused, match=how):
        p.reopen(NOW)


def test_every_transition_appends_one_event_and_the_numbers_have_no_gap():
    p = progress(node("a"), node("b", "a"))
    end(p, "a")
    end(p, "b")
    events = p.take().events
    assert [e.kind for e in events] == [
        "run.created", "task.ready", "run.started", "task.started", "task.succeeded",
        "task.ready", "task.started", "task.succeeded", "run.succeeded",
    ]  # fmt: skip
    assert [e.seq for e in events] == list(range(1, 10))


def test_a_list_too_long_to_map_over_fails_the_task_and_says_how_long_it_is():
    over = node("each", inputs={"x": Ref(node="parts")}, over="x")
    for length, status in ((10_000, TaskStatus.RUNNING), (10_001, TaskStatus.FAILED)):
        p = progress(node("parts"), over)
        end(p, "parts", value=json.dumps([0] * length))
        assert p.tasks["each"].status is status
    assert "each is mapped over x, which has 10,001 elements" in p.run.reason

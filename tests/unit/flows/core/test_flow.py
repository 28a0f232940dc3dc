"""A flow is built and checked when its module is imported."""

from __future__ import annotations

import importlib
import linecache
import sys
from dataclasses import dataclass

import pytest

from flows.core.errors import GraphError
from flows.core.flow import flow, task, when
from flows.core.graph import CONFIG, Const, Many, Ref, RunIf
from flows.core.retry import Retry


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Config:
    inner: Inner
    rate: float


@dataclass(frozen=True, kw_only=True)
class Report:
    good: bool
    score: float
    parts: list[int]


@task
def look(inner: Inner, rate: float = 0.5) -> Report:
    return Report(good=inner.depth > 1, score=rate, parts=[1, 2])


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def note(text: str) -> None: ...


@task
def touch() -> int:
    return 1


def test_calling_a_task_outside_of_a_flow_calls_the_function():
    assert double(4) == 8
    assert double.map([1, 2]) == [2, 4]


def test_inputs_are_references_constants_and_lists_of_them():
    @flow
    def f(cfg: Config) -> None:
        report = look(cfg.inner, rate=0.25)
        total([double(1), double(2)])
        double.map(report.parts)

    nodes = f.graph.by_key
    assert nodes["look"].inputs == {
        "inner": Ref(node=CONFIG, path=("inner",)),
        "rate": Const(const=0.25),
    }
    assert nodes["total"].inputs["xs"] == Many(items=(Ref(node="double"), Ref(node="double-2")))
    assert nodes["double-3"].over == "x"
    assert nodes["double-3"].inputs["x"] == Ref(node="look", path=("parts",))
    assert f.config_type is Config


def test_nothing_runs_while_a_flow_is_built():
    ran = []

    @task
    def act() -> int:
        ran.append(1)
        return 1

    @flow
    def f() -> None:
        act()

    assert ran == []
    assert list(f.graph.by_key) == ["act"]


def test_when_puts_a_condition_on_its_branch_and_a_tilde_negates_it():
    @flow
    def f(cfg: Config) -> None:
        report = look(cfg.inner)
        when(report.good).then(double(1))
        when(~report.good).then(double(2))

    good = Ref(node="look", path=("good",))
    assert f.graph.by_key["double"].condition.literals == ((good, True),)
    assert f.graph.by_key["double-2"].condition.literals == ((good, False),)


def test_after_orders_tasks_without_passing_a_value():
    @flow
    def f() -> None:
        first = touch()
        double(1, after=first)

    assert f.graph.by_key["double"].upstream == ("touch",)


def test_options_are_kept_with_the_node():
    @task(retry=Retry(attempts=4), timeout=30, cache=True, version="7", run_if="all_done")
    def careful() -> int:
        return 1

    @flow
    def f() -> None:
        careful()

    node = f.graph.by_key["careful"]
    assert (node.retry.attempts, node.timeout, node.cache) == (4, 30.0, "7")
    assert node.run_if is RunIf.ALL_DONE
    assert node.executor == "processes"  # only killable work can have a timeout


def body_wrong_type(cfg: Config) -> None:
    note(look(cfg.inner).score)


def body_unknown_field(cfg: Config) -> None:
    note(cfg.iner)


def body_branches_in_python(cfg: Config) -> None:
    if look(cfg.inner).good:
        touch()


def body_loops_in_python(cfg: Config) -> None:
    for part in look(cfg.inner).parts:
        double(part)


def body_computes(cfg: Config) -> None:
    double(touch() + 1)


def body_wrong_constant() -> None:
    double("three")


def body_missing_argument() -> None:
    double()


def body_condition_is_no_boolean(cfg: Config) -> None:
    when(look(cfg.inner).score).then(touch())


def body_then_takes_calls(cfg: Config) -> None:
    when(look(cfg.inner).good).then(touch)


def body_can_never_run(cfg: Config) -> None:
    report = look(cfg.inner)
    one, two = double(1), double(2)
    when(report.good).then(one)
    when(~report.good).then(two)
    total([one, two])


def body_empty() -> None: ...


def body_untyped_config(cfg) -> None:
    touch()


def body_maps_a_number() -> None:
    double.map(touch())


def body_negated_input(cfg: Config) -> None:
    note(~look(cfg.inner).good)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (body_wrong_type, "note takes text: str, but look.score is float"),
        (body_unknown_field, "Config has no field 'iner'"),
        (body_branches_in_python, "look.good is not known while the flow is built"),
        (body_loops_in_python, "look.parts is not known while the flow is built"),
        (body_computes, "touch is not known while the flow is built"),
        (body_wrong_constant, "double cannot take x='three': expected int, found str"),
        (body_missing_argument, "double: missing a required argument: 'x'"),
        (
            body_condition_is_no_boolean,
            "when.* takes boolean values of tasks, not <look.score: float",
        ),
        (body_then_takes_calls, "then.* takes calls of tasks"),
        (body_can_never_run, "task total can never run: it needs look.good to be true and false"),
        (body_empty, "a flow without tasks"),
        (body_untyped_config, "needs a dataclass as the type of cfg"),
        (body_maps_a_number, r"double takes x: list\[int\], but touch is int"),
        (body_negated_input, "~ is for when"),
    ],
)
def test_a_wrong_shape_is_refused_at_import_in_one_sentence(body, sentence):
    with pytest.raises(GraphError, match=sentence):
        flow(body)


def test_a_task_that_may_miss_an_input_must_say_that_it_takes_none():
    @task(run_if="all_done")
    def clean(x: int) -> None: ...

    def body() -> None:
        clean(touch())

    with pytest.raises(GraphError, match="clean runs all_done, so x may be missing"):
        flow(body)


def test_a_timeout_on_work_that_cannot_be_ended_is_refused():
    with pytest.raises(GraphError, match="a timeout needs work that can be ended"):
        task(timeout=3, executor="threads")


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(GraphError, match="no option 'retries'") as caught:
        task(retries=3)
    assert "retry" in caught.value.hint


SOURCES = {
    "cached_shapes": """
from dataclasses import dataclass

@dataclass(frozen=True)
class Part:
    rows: int = 0

@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...] = ()
""",
    "cached_tasks": """
from cached_shapes import Whole
from flows import task

def helper() -> int:
    return 1

@task(cache=True)
def count(whole: Whole) -> int:
    return helper()
""",
}


@pytest.mark.parametrize(
    ("module", "before", "after", "same"),
    [
        ("cached_tasks", "return helper()", "return helper() + 1", False),
        ("cached_tasks", "return 1", "return 2", False),  # a helper beside the task
        ("cached_shapes", "rows: int = 0", "rows: int = 0; size: int = 0", False),
        ("cached_shapes", "rows", "rows", True),
    ],
)
def test_changed_source_changes_the_code_version_of_a_cached_task(
    tmp_path, monkeypatch, module, before, after, same
):
    monkeypatch.syspath_prepend(tmp_path)

    def version():
        for name in SOURCES:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module("cached_tasks").count.code_version()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, source in SOURCES.items():
        (tmp_path / f"{name}.py").write_text(source)
    first = version()
    (tmp_path / f"{module}.py").write_text(SOURCES[module].replace(before, after))
    assert (version() == first) is same
    for name in SOURCES:
        del sys.modules[name]


def test_a_parameter_that_a_flow_could_never_fill_is_refused_where_it_is_declared():
    with pytest.raises(GraphError, match="`after`") as caught:

        @task
        def late(after: int) -> int:
            return after

    assert "another name" in caught.value.hint


def test_a_task_says_which_pool_it_takes_slots_of_and_how_many():
    @task(pool="gpu", weight=2)
    def heavy() -> int:
        return 1

    @flow
    def greedy() -> None:
        heavy()

    (node,) = greedy.graph.nodes
    assert (node.pool, node.weight) == ("gpu", 2)
    with pytest.raises(GraphError, match="a task's weight is at least 1, not 0"):
        task(weight=0)


def one() -> int:
    return 1


def test_names_are_such_as_the_store_can_keep():
    def elsewhere() -> None:
        task(executor="e" * 41)(one)()

    with pytest.raises(GraphError, match="too long a name for an executor"):
        flow(elsewhere)


def test_a_flow_has_as_many_pools_as_a_row_can_name():
    def scattered() -> None:
        for number in range(11):
            task(pool="p" * 98 + f"{number:02}")(one)()

    with pytest.raises(GraphError, match="pools are too long together"):
        flow(scattered)

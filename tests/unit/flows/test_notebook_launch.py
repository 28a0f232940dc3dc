"""`Flow.start`: where a run's tasks may run, which project it belongs to, what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from flows import Flow, flow, task
from flows.config.sources import config_path
from flows.core.errors import ConfigError, Refused
from flows.core.records import RunStatus
from flows.notebook import RunHandle, draw, launch
from flows.notebook.driver import Driver
from flows.notebook.launch import _driver, chosen_executor
from flows.settings import ExecutorName

PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    times: int = 2


@task
def repeat(times: int) -> str:
    return "ho" * times


@flow
def laugh(cfg: Settings) -> None:
    repeat(cfg.times)


def of_the_session(*, executor: str | None = None, timeout: float | None = None) -> Flow:
    """A flow as a cell would define it: its functions live in `__main__`."""

    def sing() -> str:
        return "la"

    def song() -> None:
        sung()

    for function in (sing, song):
        assert isinstance(function, FunctionType)
        function.__module__, function.__qualname__ = "__main__", function.__name__
    sung = task(executor=executor, timeout=timeout)(sing)
    return flow(song)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "home"))
    return tmp_path


def started(flow: Flow, *overrides: str, **options: Any) -> RunHandle:
    """A run that has ended, and whose driver is closed."""
    run = launch(flow, *overrides, show=False, **options).wait(PATIENCE)
    run._driver.close(PATIENCE)
    return run


def test_a_run_takes_overrides_as_text_and_as_keywords(project: Path) -> None:
    run = started(laugh, "times=1", executor="threads")
    assert run.result("repeat") == "ho"
    again = started(laugh, executor="inline", times=3)
    assert again.result("repeat") == "hohoho"
    assert again.detail().run.trigger["kind"] == "notebook"
    assert (project / "home" / "ratchet.db").exists()


def test_a_flow_of_the_session_runs_in_threads(project: Path) -> None:
    run = started(of_the_session())
    assert run.result("sing") == "la"
    assert {attempt.executor for attempt in run.detail().attempts} == {"threads"}


@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_a_task_of_the_session_is_refused_where_it_cannot_be_found(executor: str) -> None:
    with pytest.raises(Refused, match=f"task sing is defined in this session.*in {executor}"):
        chosen_executor(of_the_session(), executor)
    with pytest.raises(Refused, match="sing") as refused:
        chosen_executor(of_the_session(executor=executor), None)
    assert refused.value.hint == "move it to a module, or use executor='threads'"


def test_a_timeout_of_a_task_of_the_session_is_named_as_the_reason() -> None:
    with pytest.raises(Refused, match="as its timeout asks for"):
        chosen_executor(of_the_session(timeout=5.0), None)


def test_a_flow_of_a_module_runs_wherever_it_is_asked_to() -> None:
    assert chosen_executor(laugh, None) is None
    assert chosen_executor(laugh, "processes") == "processes"
    with pytest.raises(Refused, match="no executor 'thread'"):
        chosen_executor(laugh, "thread")


def test_a_mistake_in_an_override_starts_nothing(project: Path) -> None:
    with pytest.raises(ConfigError, match="time"):
        launch(laugh, "time=3", executor="threads", show=False)


def test_starts_of_one_project_share_a_driver_and_another_project_has_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = started(laugh, executor="threads")
    also_here = started(laugh, executor="threads", project=project)
    assert here._driver is also_here._driver
    (project / "other").mkdir()
    monkeypatch.setenv("RATCHET_HOME", str(project / "other" / "home"))
    there = started(laugh, executor="threads", project=project / "other")
    assert there._driver is not here._driver
    assert there.status is RunStatus.SUCCEEDED


def test_flows_find_their_launcher_and_their_painter() -> None:
    (launcher,) = entry_points(group="ratchet.launcher", name="default")
    (painter,) = entry_points(group="ratchet.painter", name="default")
    assert launcher.load() is launch
    assert painter.load() is draw
    assert laugh._repr_html_() == draw(laugh.graph)


SCRIPT = """
import sys, threading
from flows import flow, task

@task
def hold() -> str:
    sys.stdin.readline()
    return "held"

@flow
def script() -> None:
    hold()

from flows.notebook import launch
run = launch(script)
{then}
"""


def ran(project: Path, then: str, *, said: str) -> subprocess.CompletedProcess[str]:
    (project / "script.py").write_text(SCRIPT.format(then=then))
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=project,
        input=said,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_script_that_waits_sees_its_run_end(project: Path) -> None:
    done = ran(project, "run.wait(); print(run.result('hold'))", said="\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "held"
    assert done.stderr == ""


def test_a_script_that_ends_earlier_is_told_how_its_run_goes_on(project: Path) -> None:
    done = ran(project, "run.follow(-1)", said="\n")
    assert done.returncode == 0, done.stderr
    assert "is unfinished, and goes on with: ratchet retry" in done.stderr


def test_a_config_that_was_edited_is_taken_up_by_the_next_run(tmp_path: Path) -> None:
    conf = tmp_path / "conf" / "config.yaml"
    conf.parent.mkdir()
    conf.write_text("defaults: [ratchet, _self_]\nexecutor: inline\n")

    def driver() -> Driver:
        return _driver(str(tmp_path), None, None, config_path(tmp_path).stamp())

    first = driver()
    assert driver() is first
    conf.write_text("defaults: [ratchet, _self_]\nexecutor: threads\n")

    assert (first.ratchet.settings.executor, driver().ratchet.settings.executor) == (
        ExecutorName.INLINE,
        ExecutorName.THREADS,
    )


def test_a_mistake_is_shown_in_a_notebook_as_a_sentence_with_what_to_do_next() -> None:
    shown = ConfigError("there is no setting x", hint="use y")._render_traceback_()
    assert shown == ["ConfigError: there is no setting x", "next: use y"]

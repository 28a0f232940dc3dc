"""The command line as people meet it: processes, signals, kills, and other processes beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.core.store import RunDetail, Store

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent / "cli_project"
SECONDS = 120
"""How long anything may take before a test gives up."""


class Home:
    """A project with a home of its own, and the processes that work in it."""

    def __init__(self, folder: Path) -> None:
        self.project = Path(shutil.copytree(PROJECT, folder / "project"))
        self.notes = folder / "notes"
        self.home = folder / "home"
        self.started: list[subprocess.Popen[str]] = []
        self.without: tuple[str, ...] = ()  # what takes privileges from what is started
        self.environ = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        self.environ |= {"RATCHET_HOME": str(self.home)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "flows.cli", "--project", str(self.project), *arguments]
        command = [*self.without, *command]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=self.project,
        )
        self.started.append(process)
        return process

    def ratchet(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err

    def shown(self, *arguments: str) -> Any:
        code, out, err = self.ratchet(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    def run_that_blocks(self, task: str, *overrides: str) -> subprocess.Popen[str]:
        """`ratchet run`, once it is in the middle of `task`."""
        process = self.start(
            "run", "nightly", f"notes={self.notes}", f"block_in={task}", *overrides, "--json"
        )
        self.wait_for(lambda: task in self.ran())
        return process

    def newest(self) -> RunDetail:
        """The newest run, read beside whatever works on it."""
        store = Store.open(f"sqlite:///{self.home}/ratchet.db")
        try:
            return store.reads.detail(store.reads.find("last").id)
        finally:
            store.close()

    def ran(self) -> list[str]:
        return self.notes.read_text().split() if self.notes.exists() else []

    def go(self) -> None:
        """From now on nothing blocks."""
        Path(f"{self.notes}.go").touch()

    @staticmethod
    def wait_for(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def test_json_is_all_that_is_on_stdout(home: Home) -> None:
    code, out, err = home.ratchet("run", "nightly", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["status"] == "succeeded"


def test_ctrl_c_cancels_the_run_and_waits_until_it_is_gone(home: Home) -> None:
    process = home.run_that_blocks("decide", "executor=processes")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    run = json.loads(out)
    assert (run["status"], run["reason"]) == ("cancelled", "cancelled by Ctrl-C")
    attempts = home.newest().attempts
    assert {attempt.key: attempt.status for attempt in attempts}["decide"] == "cancelled"


def test_a_cancelled_run_goes_on_with_retry(home: Home) -> None:
    process = home.run_that_blocks("decide", "executor=processes")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    home.go()
    assert home.shown("retry", "last")["status"] == "succeeded"
    assert home.ran() == ["collect", "decide", "decide", "report"]


def test_a_second_ctrl_c_leaves_the_run_to_be_taken_up_again(home: Home) -> None:
    process = home.run_that_blocks("decide", "executor=threads")  # which cannot be ended
    process.send_signal(signal.SIGINT)
    home.wait_for(lambda: home.newest().run.status == "cancelling")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, "")
    assert "left as it is" in err
    home.go()
    assert home.shown("retry", "last")["status"] == "succeeded"
    assert home.ran() == ["collect", "decide", "decide", "report"]


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_after_kill_9_retry_finishes_without_running_finished_tasks_again(
    home: Home, executor: str
) -> None:
    process = home.run_that_blocks("report", f"executor={executor}")
    process.kill()
    process.communicate(timeout=SECONDS)
    assert home.newest().run.status == "running"
    home.go()
    assert home.shown("retry", "last")["status"] == "succeeded"
    assert home.ran() == ["collect", "decide", "report", "report"]
    attempts = [(attempt.key, attempt.status) for attempt in home.newest().attempts]
    assert attempts.count(("report", "lost")) == 1
    assert attempts.count(("report", "succeeded")) == 1
    assert attempts.count(("collect", "succeeded")) == 1


def test_after_kill_9_doctor_says_what_to_type(home: Home) -> None:
    process = home.run_that_blocks("report", "executor=processes")
    process.kill()
    process.communicate(timeout=SECONDS)
    code, out, _ = home.ratchet("doctor")
    assert code == 1
    assert f"next: ratchet retry {home.newest().run.id}" in out


def test_after_kill_9_cancel_ends_the_run_from_here(home: Home) -> None:
    process = home.run_that_blocks("decide", "executor=processes")
    process.kill()
    process.communicate(timeout=SECONDS)
    assert home.shown("cancel", "last")["status"] == "cancelled"


def test_a_second_process_watches_and_cancels_on_the_same_store(home: Home) -> None:
    process = home.run_that_blocks("decide", "executor=processes")
    run_id = home.newest().run.id
    code, _, err = home.ratchet("retry", run_id)
    assert code == 2
    assert "is at it" in err
    follower = home.start("logs", run_id, "-f")
    assert home.shown("cancel", run_id)["status"] == "cancelled"
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert json.loads(out)["status"] == "cancelled"
    followed, _ = follower.communicate(timeout=SECONDS)
    assert follower.returncode == 0
    assert "collected" in followed


def test_two_processes_run_flows_on_one_store_at_once(home: Home) -> None:
    both = [home.start("run", "nightly", "--json") for _ in range(2)]
    endings = [json.loads(process.communicate(timeout=SECONDS)[0])["status"] for process in both]
    assert endings == ["succeeded", "succeeded"]
    assert len(home.shown("runs")) == 2


def test_a_home_that_is_no_folder_is_one_line_and_the_next_step(home: Home) -> None:
    home.home.write_text("a file")
    code, out, err = home.ratchet("run", "nightly")
    assert (code, out) == (1, "")
    first, second = err.splitlines()
    assert first.startswith("error: the state store ")
    assert "--home FOLDER" in second


def test_a_read_only_home_is_one_line_and_the_next_step(home: Home) -> None:
    if os.geteuid() == 0:  # who may write everywhere, unless that is taken away
        if shutil.which("setpriv") is None:
            pytest.skip("root may write to a read-only folder, and there is no setpriv")
        home.without = ("setpriv", "--bounding-set", "-dac_override")
    home.home.mkdir(mode=0o555)
    code, out, err = home.ratchet("run", "nightly")
    assert (code, out) == (1, "")
    assert err.startswith("error: the state store ")
    assert "--home FOLDER" in err.splitlines()[1]


def test_a_reader_that_closes_the_pipe_is_no_error(home: Home) -> None:
    home.ratchet("run", "nightly")
    process = home.start("show", "--json")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=SECONDS)
    assert process.stderr is not None
    assert process.stderr.read() == ""

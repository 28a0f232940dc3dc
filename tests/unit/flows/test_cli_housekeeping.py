"""`ratchet kpis`, `audit` and `prune`, in this process, on runs that really ran."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.bootstrap import open_project
from flows.cli.app import app
from flows.cli.prune import size
from flows.core.alert import Alert, AlertKind, Severity
from flows.core.schedule import Cron, Schedule

NOW = datetime(2026, 3, 1, tzinfo=UTC)

Ratchet = Callable[..., Any]


@pytest.fixture
def project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATCHET_HOME", str(project.parent / "home"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return project


@pytest.fixture
def ratchet(project: Path) -> Ratchet:
    def run(*arguments: str) -> Any:
        given = ["--project", str(project), *arguments]
        return CliRunner().invoke(app, given, prog_name="ratchet")

    return run


def run_ids(ratchet: Ratchet) -> list[str]:
    return [run["id"] for run in json.loads(ratchet("runs", "--json").stdout)]


def test_kpis_of_nothing_say_why_there_is_nothing(ratchet: Ratchet) -> None:
    said = ratchet("kpis")
    assert said.exit_code == 0
    for reason in ("no run ended", "no run had a deadline", "no model was promoted yet"):
        assert reason in said.stdout
    assert json.loads(ratchet("kpis", "--json").stdout)["success_rate"] == {
        "value": None,
        "part": 0,
        "of": 0,
    }


def test_kpis_count_what_really_ran(ratchet: Ratchet) -> None:
    for ending in ("succeed", "halt", "skip", "fail"):
        ratchet("run", "nightly", f"ending={ending}")
    said = ratchet("kpis").stdout
    assert "75 %" in said
    assert "of 4 runs (1 succeeded, 1 halted, 1 skipped, 1 failed)" in said
    found = json.loads(ratchet("kpis", "--since", "all", "--flow", "nightly", "--json").stdout)
    assert found["success_rate"] == {"value": 0.75, "part": 3, "of": 4}
    assert found["queue_time"]["count"] == 4
    assert found["attempts"] > 10
    cpu = found["compute_efficiency"]["cpu"]
    assert 0 < cpu["part"] < cpu["of"]
    assert found["compute_efficiency"]["estimated_attempts"] == 0
    detection = found["time_to_detection"]  # of the halt and of the failure
    assert detection["count"] == 2
    assert 0 <= detection["mean_s"] <= detection["longest_s"] < 60


@pytest.mark.parametrize("since", ["yesterday", "-3d", ""])
def test_a_time_that_is_none_is_one_line(ratchet: Ratchet, since: str) -> None:
    said = ratchet("kpis", f"--since={since}")
    assert said.exit_code == 2
    assert said.stderr.endswith("  next: write it as 7d or 12h: --since 7d\n")


def test_kpis_of_an_unknown_flow_name_the_nearest(ratchet: Ratchet) -> None:
    said = ratchet("kpis", "--flow", "nightyl")
    assert (said.exit_code, "did you mean nightly?" in said.stderr) == (2, True)


def test_an_audit_that_finds_nothing_says_so(ratchet: Ratchet) -> None:
    ratchet("run", "nightly")
    said = ratchet("audit")
    assert (said.exit_code, said.stdout) == (
        0,
        "nothing is stale, failing, orphaned or waiting in vain\n",
    )


def test_an_audit_exits_with_1_for_what_it_finds(ratchet: Ratchet, project: Path) -> None:
    opened = open_project(project)
    store = opened.service.store
    alert = Alert(
        key="failed:r1:9", kind=AlertKind.FAILED, severity=Severity.CRITICAL, flow="gone",
        subject="r1", title="gone failed", reason="no", since=NOW, at=NOW, next="ratchet runs",
    )  # fmt: skip
    store.outbox.post([alert], NOW)
    gone = Schedule(name="old", flow="gone", trigger=Cron(cron="0 3 * * *"))
    store.schedules.save(
        gone, next_at=NOW + timedelta(days=1), cursor={"at": NOW.isoformat()}, now=NOW
    )
    run = opened.start(opened.flow("nightly"), trigger={"kind": "test"})
    opened.close()
    said = ratchet("audit", "--json")
    assert said.exit_code == 1
    found = [(each["kind"], each["subject"]) for each in json.loads(said.stdout)]
    assert found == [("orphaned", "old"), ("stale", "old")]  # a run that began just now is not
    table = ratchet("audit").stdout
    assert "schedule old runs gone, which is not known here" in table
    assert run.id not in table


def test_prune_removes_nothing_without_yes_and_then_what_it_said(ratchet: Ratchet) -> None:
    for _ in range(3):
        ratchet("run", "nightly")
    newest, _, oldest = run_ids(ratchet)
    assert "there is nothing to prune" in ratchet("prune").stdout
    options = ("prune", "--older-than", "0s", "--keep", "2")
    said = ratchet(*options)
    assert oldest in said.stdout
    assert newest not in said.stdout
    again = "to remove it: ratchet prune --older-than 0s --keep 2 --history 400d --yes"
    assert again in " ".join(said.stdout.split())
    assert ratchet("show", oldest).stdout.count("collect") == 1
    done = json.loads(ratchet(*options, "--yes", "--json").stdout)
    assert done["pruned"] == [oldest]
    assert done["bytes"] > 0
    assert "there is nothing to prune" in ratchet(*options).stdout


def test_a_pruned_run_is_shown_as_such_and_not_retried(ratchet: Ratchet) -> None:
    ratchet("run", "nightly", "ending=fail")
    (run,) = run_ids(ratchet)
    before = json.loads(ratchet("kpis", "--json").stdout)
    ratchet("prune", "--older-than", "0s", "--keep", "0", "--yes")
    shown = ratchet("show", run)
    assert shown.exit_code == 0
    assert f"run {run} was pruned: its tasks, logs and config are gone" in shown.stdout
    assert json.loads(ratchet("show", run, "--json").stdout)["pruned"] is True
    for command in ("retry", "logs"):
        said = ratchet(command, run)
        assert said.exit_code == 2
        assert said.stderr.startswith(f"error: run {run} was pruned")
    after = json.loads(ratchet("kpis", "--json").stdout)
    assert after["success_rate"] == before["success_rate"]
    assert after["compute_efficiency"] == before["compute_efficiency"]
    ratchet("run", "nightly")  # the run before it is pruned: nothing to compare with
    assert ratchet("show").exit_code == 0


def test_what_happened_long_ago_goes_and_kpis_say_since_when_all_is_kept(ratchet: Ratchet) -> None:
    ratchet("run", "nightly")
    ratchet("prune", "--older-than", "0s", "--keep", "0", "--yes")
    planned = json.loads(ratchet("prune", "--history", "0s", "--json").stdout)["history"]
    assert planned["rows"]["event"] > 5
    assert "rows from before" in ratchet("prune", "--history", "0s").stdout
    assert json.loads(ratchet("kpis", "--json").stdout)["attempts"] > 0
    ratchet("prune", "--history", "0s", "--yes")
    assert json.loads(ratchet("prune", "--history", "1h", "--json").stdout)["history"]["rows"] == {}
    shown = ratchet("kpis", "--since", "all")
    assert "all time, as far as events are kept: since" in " ".join(shown.stdout.split())
    assert json.loads(ratchet("kpis", "--json").stdout)["attempts"] == 0


def test_yes_and_dry_run_contradict_each_other(ratchet: Ratchet) -> None:
    assert ratchet("prune", "--yes", "--dry-run").exit_code == 2


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (812, "812 B"), (999.7, "1 kB"), (1400, "1.4 kB"), (2.5e15, "2500 TB")],
)
def test_sizes_are_said_in_thousands(count: float, said: str) -> None:
    assert size(count) == said

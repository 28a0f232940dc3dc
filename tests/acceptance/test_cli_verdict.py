"""`ratchet verdict`: what the gate decided in a run, in the terminal, as JSON and as a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from registry import (
    CaseNote,
    CaseState,
    Decision,
    RegistryConfig,
    Rule,
    RuleResult,
    Verdict,
    connect,
)
from registry.error_budget import Year
from registry.nights.docket import Docket

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent / "cli_project"
AT = datetime(2026, 7, 4, 3, tzinfo=UTC)
VERDICT = Verdict(
    model="digits",
    challenger="3",
    champion="2",
    epoch=2,
    decision=Decision.HOLD,
    promote=False,
    reason="Version 3 is not proven better yet.",
    metric="accuracy",
    challenger_score=0.9,
    baseline=0.88,
    difference=0.02,
    low=-0.01,
    high=0.05,
    confidence=0.95,
    rows=500,
    rules=(
        RuleResult(
            rule=Rule.IMPROVEMENT, metric="accuracy", passed=False, figure=0.02, low=-0.01,
            high=0.05, bound=0.0, rows=500, message="evidence 41 of 9,605 needed",
        ),
        RuleResult(
            rule=Rule.SLICE, metric="accuracy", slice="[red]north", passed=True, judged=False,
            rows=7, message="[red]north is not judged: fewer than 50 rows",
        ),
    ),
    run_id="",
    mlflow_run_id="",
    cases=(
        CaseNote(
            challenger="3", state=CaseState.KEPT, log_evidence=3.7136, log_needed=9.17, rows=500,
            nights=1, fresh=500, nights_left=3,
        ),
    ),
    level=1 / 9605,
)  # fmt: skip

Ratchet = Callable[..., Any]


@pytest.fixture
def ratchet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ratchet:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["--project", str(PROJECT), *arguments])

    return run


def newest_run(ratchet: Ratchet) -> str:
    return str(json.loads(ratchet("runs", "--json").stdout)[0]["id"])


def kept_for(home: Path, run_id: str, verdict: Verdict = VERDICT) -> None:
    """Let the gate have judged in this run."""
    config = RegistryConfig(
        tracking_uri=f"sqlite:///{home}/mlflow.db", ledger_url=f"sqlite:///{home}/ledger.db"
    )
    docket = Docket(epoch=2, year=Year(number=2026).after_opening())
    with connect(config) as registry:
        judged = replace(verdict, run_id=run_id)
        assert registry.keep_night(docket, judged, challenger="3", dataset="d", expected=0, now=AT)


def test_a_run_without_a_verdict_says_why_in_one_line(ratchet: Ratchet) -> None:
    nobody = ratchet("verdict")
    assert nobody.exit_code == 2
    assert nobody.stderr == ("error: no run has a verdict yet\n  next: ratchet run retrain\n")
    for ending, said in (("halt", "was halted: the data is not fit"), ("skip", "was skipped: no")):
        ratchet("run", "nightly", f"ending={ending}")
        run = newest_run(ratchet)
        result = ratchet("verdict", run)
        assert result.exit_code == 2
        assert f"error: run {run} has no verdict: it {said}" in result.stderr
        assert f"next: ratchet show {run}" in result.stderr
    assert "there is no run nobody" in ratchet("verdict", "nobody").stderr


def test_the_gates_night_is_found_by_the_run(ratchet: Ratchet, tmp_path: Path) -> None:
    ratchet("run", "nightly")
    run = newest_run(ratchet)
    kept_for(tmp_path, run)
    said = ratchet("verdict", run)
    assert said.exit_code == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].startswith(f"digits v3  hold  run {run}, ")
    assert lines[1] == "Version 3 is not proven better yet."
    rules = {line.split("  ")[0]: line for line in lines}
    assert "not proven" in rules["improvement in accuracy"]
    assert "+0.02" in rules["improvement in accuracy"]
    assert "-0.01 to +0.05" in rules["improvement in accuracy"]
    assert "not judged" in rules["slice [red]north"]
    assert rules["v3 *"].split()[2:6] == ["41", "9,605", "500", "1"]
    assert "kept; about 3 more nights at this pace" in rules["v3 *"]
    assert "slice [red]north: [red]north is not judged: fewer than 50 rows" in lines
    assert (
        "error budget of 2026: 0.04987 of 0.05 left (99.7 %); 1 challenger took a share; this "
        "decision's share: 0.0001" in said.stdout
    )
    assert lines[-1] == "next: ratchet evidence digits"


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"decision": Decision.AWAIT}, "ratchet approve digits 3 --reason TEXT"),
        ({"decision": Decision.PROMOTE, "promote": True}, "ratchet champion digits"),
    ],
)
def test_the_next_command_fits_the_decision(
    ratchet: Ratchet, tmp_path: Path, change: dict[str, Any], command: str
) -> None:
    ratchet("run", "nightly")
    kept_for(tmp_path, newest_run(ratchet), replace(VERDICT, **change))
    assert ratchet("verdict", newest_run(ratchet)).stdout.splitlines()[-1] == f"next: {command}"


def test_a_narrow_terminal_shows_every_figure_and_what_waits(
    ratchet: Ratchet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ratchet("run", "nightly")
    failed = replace(
        VERDICT.rules[1], slice="age/4=33.38 to 48.83", passed=False, judged=True, figure=-0.0656,
        low=-0.0802, high=-0.0509, bound=-0.05, rows=12_345, message="it may be worse",
    )  # fmt: skip
    harmed = replace(VERDICT.cases[0], state=CaseState.GIVEN_UP, harmed="worse on x=1")
    verdict = replace(VERDICT, decision=Decision.AWAIT, rules=(failed,), cases=(harmed,))
    kept_for(tmp_path, newest_run(ratchet), verdict)
    lines = ratchet("verdict", newest_run(ratchet)).stdout.splitlines()
    assert lines[0].startswith("digits v3  awaits approval  run ")
    (line,) = [line for line in lines if "✗ not proven" in line]
    assert line.split()[-6:] == ["-0.0656", "-0.0802", "to", "-0.0509", "-0.05", "12,345"]
    assert "slice age/4=33.38 to 48.83: it may be worse" in lines
    (case,) = [line for line in lines if line.startswith("v3 *")]
    assert "given up; proven" in case


def test_json_has_every_figure_and_html_is_the_card(ratchet: Ratchet, tmp_path: Path) -> None:
    ratchet("run", "nightly")
    run = newest_run(ratchet)
    kept_for(tmp_path, run)
    told = json.loads(ratchet("verdict", run, "--json").stdout)
    assert set(told) == {
        "run", "night", "at", "verdict", "budget", "champion", "evidence", "dataset", "challenger",
        "hash",
    }  # fmt: skip
    assert (told["run"], told["night"], told["at"]) == (run, 1, "2026-07-04T03:00:00+00:00")
    assert told["verdict"]["rules"][1]["judged"] is False
    assert told["evidence"][0]["cases"] == {"3": 3.7136}
    assert told["budget"]["challengers"] == 1
    file = tmp_path / "card.html"
    result = ratchet("verdict", run, "--html", str(file))
    assert f"wrote {file}" in result.stdout
    assert file.read_text().startswith("<!doctype html>")
    assert "Version 3 is not proven better yet." in file.read_text()
    nowhere = ratchet("verdict", run, "--html", str(tmp_path / "no" / "card.html"))
    assert nowhere.exit_code == 2
    assert f"error: there is no folder {tmp_path / 'no'}" in nowhere.stderr


def test_the_demos_newest_verdict_and_its_card_are_at_hand(demo: Project) -> None:
    told = demo.run("ratchet", "verdict", "--json")
    assert told.returncode == 0, told.stderr
    newest = json.loads(told.stdout)
    assert newest["verdict"]["model"] == "digits"
    assert newest["dataset"]["view"] == "digits"
    assert newest["challenger"]["version"] == newest["verdict"]["challenger"]
    said = demo.run("ratchet", "verdict")
    assert newest["verdict"]["reason"] in said.stdout
    assert "data: digits version" in said.stdout
    written = demo.run("ratchet", "verdict", "--html", "card.html")
    assert written.returncode == 0, written.stderr
    html = (demo.folder / "card.html").read_text()
    for section in ("Rules", "Error budget", "Who was trained on what", "sklearn."):
        assert section in html

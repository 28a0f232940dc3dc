"""`approve` and `reject` over a real MLflow, a real ledger and a real store."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.core.store import Store
from registry import Registry, RegistryConfig, Verdict, connect
from registry.approvals import awaiting
from registry.gate_config import ApprovalConfig
from registry.nights.docket import Docket
from registry.verdict import Decision

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent / "cli_project"
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=30)

Ratchet = Callable[..., Any]


def config(home: Path) -> RegistryConfig:
    return RegistryConfig(
        tracking_uri=f"sqlite:///{home}/mlflow.db", ledger_url=f"sqlite:///{home}/ledger.db"
    )


def client(home: Path) -> Any:
    from mlflow import MlflowClient

    uri = f"sqlite:///{home}/mlflow.db"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def verdict(version: str, epoch: int) -> Verdict:
    return Verdict(
        model="digits", challenger=version, champion="1" if epoch else None, epoch=epoch,
        decision=Decision.PROMOTE, promote=True, reason=f"Version {version} is better.",
        metric="accuracy", challenger_score=0.9, baseline=0.8, difference=0.1, low=0.05, high=0.15,
        confidence=0.95, rows=500, rules=(), run_id=f"run-{version}", mlflow_run_id="",
    )  # fmt: skip


def judge(registry: Registry, night: int, made: Verdict, asked_at: datetime) -> None:
    waits = awaiting(made, ApprovalConfig(required=True), asked_at)
    docket = Docket(epoch=made.epoch)
    assert registry.keep_night(
        docket, waits, challenger=made.challenger, dataset="d", expected=night - 1, now=asked_at
    )


@pytest.fixture(scope="module")
def two_wait(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """A home in which version 1 is champion, 2 has expired, and 3 and 4 wait."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    with connect(config(home)) as registry:
        client(home).create_registered_model("digits")
        for _ in range(4):
            client(home).create_model_version("digits", "file:///nowhere")
        registry.promote(verdict("1", 0), actor="flow retrain", now=LONG_AGO)
        judge(registry, 1, verdict("2", 1), LONG_AGO)
        judge(registry, 2, verdict("3", 1), NOW)
        judge(registry, 3, verdict("4", 1), NOW)
    return home


@pytest.fixture
def home(two_wait: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_wait, tmp_path / "home"))


@pytest.fixture
def ratchet(home: Path, monkeypatch: pytest.MonkeyPatch) -> Ratchet:
    monkeypatch.setenv("RATCHET_HOME", str(home))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["--project", str(PROJECT), *arguments])

    return run


def shown(result: Any) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(result: Any, code: int = 1) -> str:
    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == 2  # one clear line, and the next one to type
    return str(result.stderr)


def test_without_a_model_it_lists_what_waits_and_what_to_type(ratchet: Ratchet) -> None:
    waiting = shown(ratchet("approve", "--json"))
    assert [(one["version"], one["champion"], one["epoch"]) for one in waiting] == [
        ("3", "1", 1),
        ("4", "1", 1),
    ]
    assert waiting[0] == {
        "model": "digits",
        "version": "3",
        "champion": "1",
        "epoch": 1,
        "run": "run-3",
        "asked": NOW.isoformat(),
        "expires": (NOW + timedelta(days=3)).isoformat(),
        "reason": "Version 3 is better.",
    }
    said = ratchet("approve").stdout
    assert "Version 4 is better." in said
    assert "next: ratchet approve digits 3 --reason TEXT, or ratchet reject digits 3" in said


def test_champion_and_evidence_mention_what_waits(ratchet: Ratchet) -> None:
    for command in ("champion", "evidence"):
        said = ratchet(command, "digits").stdout
        assert "version 3 waits for approval (until " in said
        assert "next: ratchet approve digits 4 --reason TEXT" in said
        assert "version 2 waits" not in said


def test_an_approval_makes_it_live_and_tells_those_who_wait_for_the_model(
    ratchet: Ratchet, home: Path
) -> None:
    arguments = ("approve", "digits", "3", "--reason", "shadowed a week", "--by", "ann")
    entry = shown(ratchet(*arguments, "--json"))
    assert (entry["epoch"], entry["version"], entry["action"]) == (2, "3", "promote")
    assert entry["actor"] == "ann"
    assert entry["reason"] == "shadowed a week. The gate: Version 3 is better."
    assert entry["verdict"]["decision"] == "await"
    assert str(client(home).get_model_version_by_alias("digits", "champion").version) == "3"
    again = ratchet(*arguments)
    assert "digits: version 3 is live instead of 1 (approved by ann, epoch 2)" in again.stdout
    store = Store.open(f"sqlite:///{home}/ratchet.db")
    assert [e.data["version"] for e in store.reads.events() if e.kind == "asset.updated"] == ["3"]
    store.close()
    said = ratchet("approve").stdout
    assert "nothing waits for approval" in said
    assert "version 3 (epoch 2)" in refused(ratchet("approve", "digits", "4", "--reason", "too"))
    assert ratchet("ledger", "digits", "--verify").exit_code == 0


def test_an_approval_that_was_killed_before_it_told_is_told_by_the_same_again(
    ratchet: Ratchet, home: Path
) -> None:
    assert ratchet("reject", "digits", "4", "--reason", "biased").exit_code == 0
    with connect(config(home)) as registry:
        registry.approve("digits", actor="ann", reason="shadowed a week", now=NOW)
    again = ("approve", "digits", "--reason", "shadowed a week", "--by")
    assert "was approved by ann" in refused(ratchet(*again, "bob"))
    assert "version 3 is live instead of 1 (approved by ann" in ratchet(*again, "ann").stdout
    store = Store.open(f"sqlite:///{home}/ratchet.db")
    assert [e.data["version"] for e in store.reads.events() if e.kind == "asset.updated"] == ["3"]
    store.close()


def test_a_rejection_stands_in_the_ledger_and_leaves_the_champion(
    ratchet: Ratchet, home: Path
) -> None:
    answer = shown(ratchet("reject", "digits", "3", "--reason", "biased", "--by", "bob", "--json"))
    assert (answer["action"], answer["actor"], answer["reason"]) == ("reject", "bob", "biased")
    assert str(client(home).get_model_version_by_alias("digits", "champion").version) == "1"
    history = shown(ratchet("ledger", "digits", "--json"))
    assert [(one["action"], one["version"]) for one in history] == [
        ("promote", "1"),
        ("reject", "3"),
    ]
    assert set(history[0]) == set(history[1])
    lines = ratchet("ledger", "digits").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["1", "1"], ["3", "reject"]]
    assert "was rejected by bob" in refused(ratchet("approve", "digits", "3", "--reason", "no"))
    assert "version 4 is live" in ratchet("approve", "digits", "--reason", "the only one").stdout
    whole = ratchet("ledger", "digits", "--verify")
    assert whole.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("approve", "digits", "2", "--reason", "x"), 1, "version 2 of digits expired on"),
        (("reject", "digits", "2", "--reason", "x"), 1, "version 2 of digits expired on"),
        (("approve", "digits", "--reason", "x"), 1, "Several versions of digits wait"),
        (("approve", "digits", "1", "--reason", "x"), 1, "is the champion already"),
        (("approve", "digits", "9", "--reason", "x"), 1, "Version 9 of digits"),
        (("approve", "digits", "3"), 2, "an approval needs a reason"),
        (("reject", "digits", "3"), 2, "next: ratchet reject digits 3 --reason TEXT"),
        (("reject", "digits", "3", "--reason", " "), 2, "a rejection needs a reason"),
        (("approve", "digit", "--reason", "x"), 2, "did you mean digits?"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(
    ratchet: Ratchet, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert said in refused(ratchet(*arguments), code)


def test_a_later_night_replaces_an_older_request(ratchet: Ratchet, home: Path) -> None:
    with connect(config(home)) as registry:
        again = replace(verdict("3", 1), run_id="run-later")
        judge(registry, 4, again, NOW)
    runs = {one["version"]: one["run"] for one in shown(ratchet("approve", "--json"))}
    assert runs == {"3": "run-later", "4": "run-4"}

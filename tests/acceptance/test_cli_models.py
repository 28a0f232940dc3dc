"""`champion`, `ledger` and `rollback` over a real MLflow and a real ledger."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.core.store import Store
from registry import CaseNote, CaseState, GateConfig, RegistryConfig, Verdict, connect
from registry.error_budget import Year
from registry.nights.docket import Case, Docket
from registry.verdict import Decision
from registry.watching import watched

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent / "cli_project"
AT = datetime(2026, 7, 4, 3, tzinfo=UTC)

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
        model="digits",
        challenger=version,
        champion=None,
        epoch=epoch,
        decision=Decision.PROMOTE,
        promote=True,
        reason=f"version {version} is better",
        metric="accuracy",
        challenger_score=0.9,
        baseline=0.8,
        difference=0.1,
        low=0.05,
        high=0.15,
        confidence=0.95,
        rows=500,
        rules=(),
        run_id=f"run-{version}",
        mlflow_run_id="",
    )


@pytest.fixture(scope="module")
def two_promotions(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """A home in which version 1, then version 2 of `digits` became champion."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    with connect(config(home)) as registry:
        client(home).create_registered_model("digits")
        for epoch in (0, 1):
            made = client(home).create_model_version("digits", "file:///nowhere")
            registry.promote(verdict(str(made.version), epoch), actor="flow retrain", now=AT)
    return home


@pytest.fixture
def home(two_promotions: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_promotions, tmp_path / "home"))


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


def test_champion_says_who_is_live_and_agrees_with_mlflow(ratchet: Ratchet, home: Path) -> None:
    champion = shown(ratchet("champion", "digits", "--json"))
    assert champion == {
        "model": "digits",
        "version": "2",
        "epoch": 2,
        "run": "run-2",
        "since": "2026-07-04T03:00:00+00:00",
        "settled": True,
        "outsider": None,
        "gone": None,
        "action": "promote",
        "reason": "version 2 is better",
        "watch": None,
    }
    assert str(client(home).get_model_version_by_alias("digits", "champion").version) == "2"
    assert shown(ratchet("champion", "--json")) == [champion]
    assert "digits version 2 is live" in ratchet("champion", "digits").stdout


def test_the_ledger_is_an_array_of_linked_entries(ratchet: Ratchet) -> None:
    first, second = shown(ratchet("ledger", "digits", "--json"))
    assert set(first) == {
        "model",
        "epoch",
        "version",
        "previous_version",
        "action",
        "verdict",
        "run",
        "actor",
        "reason",
        "at",
        "previous_hash",
        "hash",
        "settled",
    }
    assert (first["epoch"], first["version"], first["action"]) == (1, "1", "promote")
    assert second["previous_hash"] == first["hash"]
    assert second["verdict"]["difference"] == 0.1
    assert second["settled"] is True
    lines = ratchet("ledger", "digits").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["1", "1", "promote"],
        ["2", "2", "promote"],
    ]


def test_verify_finds_a_whole_ledger_whole_and_an_altered_one_broken(
    ratchet: Ratchet, home: Path
) -> None:
    result = ratchet("ledger", "digits", "--verify", "--json")
    assert len(shown(result)) == 2
    assert "2 entries, every hash fits" in result.stderr
    with sqlite3.connect(home / "ledger.db") as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE ledger_entry SET reason = 'because' WHERE epoch = 1")
    database.close()
    result = ratchet("ledger", "digits", "--verify")
    assert result.exit_code == 1
    assert "broken at epoch 1" in result.stderr


def test_rollback_makes_the_champion_before_live_again(ratchet: Ratchet, home: Path) -> None:
    entry = shown(ratchet("rollback", "digits", "--reason", "too slow", "--by", "ada", "--json"))
    assert (entry["epoch"], entry["version"], entry["action"]) == (3, "1", "rollback")
    assert (entry["actor"], entry["reason"]) == ("ada", "too slow")
    assert str(client(home).get_model_version_by_alias("digits", "champion").version) == "1"


def told(home: Path) -> list[tuple[str, str]]:
    """The assets that schedules were told of."""
    store = Store.open(f"sqlite:///{home}/ratchet.db")
    try:
        events = [e.data for e in store.reads.events() if e.kind == "asset.updated"]
        return [(data["asset"], data["version"]) for data in events]
    finally:
        store.close()


def test_a_rollback_fires_the_schedules_on_the_model_once(ratchet: Ratchet, home: Path) -> None:
    back = ("rollback", "digits", "--to", "1", "--reason", "too slow")
    assert ratchet(*back).exit_code == 0
    assert told(home) == [("model:digits", "1")]
    again = ratchet(*back)
    assert (again.exit_code, "version 1 is live" in again.output) == (0, True)
    assert told(home) == [("model:digits", "1")]
    assert ratchet("rollback", "digits", "--to", "2", "--reason", "no").exit_code == 0
    assert ratchet(*back).exit_code == 0
    assert told(home) == [("model:digits", version) for version in ("1", "2", "1")]


def test_a_rollback_that_was_killed_before_it_told_is_told_by_the_same_again(
    ratchet: Ratchet, home: Path
) -> None:
    with connect(config(home)) as registry:
        registry.rollback("digits", "1", actor="ann", reason="too slow", now=AT)
    assert ratchet("rollback", "digits", "--to", "1", "--reason", "too slow").exit_code == 0
    assert told(home) == [("model:digits", "1")]


def test_a_refused_command_tells_nothing_of_what_a_run_has_promoted(
    ratchet: Ratchet, home: Path
) -> None:
    assert ratchet("rollback", "digits", "--to", "2", "--reason", "x").exit_code == 1
    assert ratchet("champion", "digits", "--adopt").exit_code == 1
    assert told(home) == []


def test_a_champion_that_was_deleted_is_left_by_the_command_that_is_shown(
    ratchet: Ratchet, home: Path
) -> None:
    client(home).delete_model_version("digits", "2")
    assert "ratchet rollback digits --reason TEXT" in ratchet("champion", "digits").stdout
    assert "version 1 would be live" in ratchet("rollback", "digits", "--dry-run").stdout
    assert told(home) == []
    assert ratchet("rollback", "digits", "--reason", "it is gone").exit_code == 0
    again = ratchet("rollback", "digits", "--reason", "it is gone")
    assert (again.exit_code, "version 1 is live" in again.stdout) == (0, True)
    assert told(home) == [("model:digits", "1")]


def test_what_was_rolled_back_from_is_released_by_name(ratchet: Ratchet) -> None:
    assert ratchet("rollback", "digits", "--reason", "unfair").exit_code == 0
    said = ratchet("release", "digits", "2", "--reason", "it was fair")
    assert (said.exit_code, "may be proposed again" in said.stdout) == (0, True)
    assert "release" in ratchet("ledger", "digits").stdout


def test_a_model_without_a_champion_begins_anew(ratchet: Ratchet) -> None:
    assert "has no champion" in ratchet("champion", "digits", "--retire").stdout
    assert ratchet("rollback", "digits", "--dry-run").stdout.startswith("digits: version 2 would")


def test_rollback_without_a_reason_is_refused(ratchet: Ratchet) -> None:
    result = ratchet("rollback", "digits")
    assert result.exit_code == 2
    assert "a rollback needs a reason, for the record" in result.stderr
    assert "next: ratchet rollback digits --reason TEXT" in result.stderr


@pytest.mark.parametrize(("option", "version"), [("--adopt", "1"), ("--restore", "2")])
def test_an_outsiders_change_is_shown_and_acknowledged(
    ratchet: Ratchet, home: Path, option: str, version: str
) -> None:
    client(home).set_registered_model_alias("digits", "champion", "1")
    assert shown(ratchet("champion", "digits", "--json"))["outsider"] == "1"
    text = ratchet("champion", "digits").stdout
    assert "somebody else changed it" in text
    assert "ratchet champion digits --adopt, or --restore" in text
    after = shown(ratchet("champion", "digits", option, "--json"))
    assert (after["version"], after["epoch"], after["outsider"]) == (version, 3, None)
    assert told(home) == [("model:digits", version)]
    assert ratchet("champion", "digits", option).exit_code == 1
    assert told(home) == [("model:digits", version)]


def test_an_unknown_model_names_the_nearest(ratchet: Ratchet) -> None:
    for command in ("champion", "ledger"):
        result = ratchet(command, "digit")
        assert result.exit_code == 2
        assert "there is no model digit; did you mean digits?" in result.stderr


def test_evidence_shows_what_is_not_proven_and_the_error_budget(
    ratchet: Ratchet, home: Path
) -> None:
    assert shown(ratchet("evidence", "digits", "--json"))["cases"] == []
    assert "has not judged a challenger of digits yet" in ratchet("evidence", "digits").stdout
    year = Year(number=2026).after_opening()
    case = Case(challenger="3", share=Year().share, trained_until=AT, opened=AT, rows=5000)
    docket = Docket(epoch=2, year=year, cases=(case,))
    kept = CaseNote(
        challenger="3", state=CaseState.KEPT, log_evidence=0.0, log_needed=case.log_needed,
        rows=5000, nights=1, fresh=0, note="no row is new",
    )  # fmt: skip
    with connect(config(home)) as registry:
        judged = replace(verdict("3", 2), promote=False, reason="not proven yet", cases=(kept,))
        assert registry.keep_night(docket, judged, challenger="3", dataset="d", expected=0, now=AT)
    told = shown(ratchet("evidence", "digits", "--json"))
    assert [(c["challenger"], c["rows"]) for c in told["cases"]] == [("3", 5000)]
    assert told["budget"]["left"] == pytest.approx(0.05 - Year().share)
    said = ratchet("evidence", "digits").stdout
    assert "not proven yet" in said
    assert "7,684" in said
    assert "kept; no row is new" in said
    assert told["cases"][0]["tonight"] == "kept; no row is new"
    assert "error budget of 2026: 0.04987 of 0.05 left (99.7 %); 1 challenger took" in said
    assert ratchet("ledger", "digits", "--verify").exit_code == 0
    missing = ratchet("evidence", "digit")
    assert missing.exit_code != 0
    assert "did you mean digits" in missing.stderr


def test_an_older_backup_of_the_ledger_is_found_and_goes_on_once_it_is_adopted(
    ratchet: Ratchet, home: Path
) -> None:
    def judge(version: str, expected: int) -> None:
        held = replace(verdict(version, 2), promote=False)
        with connect(config(home)) as registry:
            assert registry.keep_night(
                Docket(epoch=2), held, challenger=version, dataset="d", expected=expected, now=AT
            )

    judge("3", 0)
    (home / "backup.db").write_bytes((home / "ledger.db").read_bytes())
    judge("4", 1)
    assert ratchet("ledger", "digits", "--verify").exit_code == 0
    (home / "ledger.db").write_bytes((home / "backup.db").read_bytes())
    broken = ratchet("ledger", "digits", "--verify")
    assert broken.exit_code == 1
    lost = "MLflow remembers night 2 of the evidence"
    assert lost in " ".join(broken.stderr.split())
    assert "--adopt --reason TEXT; and find out who" in " ".join(broken.stderr.split())
    assert lost in " ".join(ratchet("champion", "digits").stdout.split())
    assert lost in " ".join(ratchet("doctor").stdout.split())
    refused = ratchet("champion", "digits", "--restore")
    assert refused.exit_code == 1
    assert lost in " ".join(refused.stderr.split())
    reason = ("--reason", "the backup of Monday")
    entry = shown(ratchet("champion", "digits", "--adopt", *reason, "--json"))
    assert (entry["version"], entry["epoch"], entry["reason"]) == ("2", 3, reason[1])
    assert ratchet("ledger", "digits", "--verify").exit_code == 0


def test_champion_says_how_far_its_watch_is(ratchet: Ratchet, home: Path) -> None:
    assert "watched:" not in ratchet("champion", "digits").stdout
    with connect(config(home)) as registry:
        subject = registry.watches.subject("digits")
        assert subject is not None
        watch = registry.watches.before_night(subject, AT, GateConfig(), AT)
        watch = replace(watch, bets=replace(watch.bets, nights=1))
        found = watched(watch, "", GateConfig())[1]
        assert registry.watches.keep(watch, found, run_id="r", dataset="d", now=AT)
    assert "watched: night 1 of 7, no harm" in ratchet("champion", "digits").stdout
    told = shown(ratchet("champion", "digits", "--json"))["watch"]
    assert (told["state"], told["harm"], told["previous"]) == ("watching", False, "1")
    assert (told["night"], told["nights"], told["reason"]) == (1, 7, found.reason)
    assert shown(ratchet("champion", "--json"))[0]["watch"] == told
    assert ratchet("ledger", "digits", "--verify").exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        "runs",
        "show last",
        "champion",
        "champion digits",
        "ledger digits --verify",
        "verdict",
        "evidence digits",
    ],
)
def test_a_command_that_only_reads_imports_nothing_that_it_does_not_need(
    home: Path, command: str
) -> None:
    def modules() -> set[str]:
        script = f"""
import atexit, sys
from flows.cli import main
names = ["mlflow", "hydra", "omegaconf", "alembic", "numpy", "pyarrow", "scipy", "pandas", "ray"]
names += ["fastapi", "IPython", "nightly", "sqlalchemy.dialects.postgresql"]
atexit.register(lambda: print("imported", *(n for n in names if n in sys.modules)))
sys.argv = ["ratchet", "--project", {str(PROJECT)!r}, *{command.split()!r}]
main()
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "RATCHET_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        first, *imported = done.stdout.splitlines()[-1].split()
        assert first == "imported"
        return set(imported)

    modules()  # makes the state store's tables, and keeps the merged config
    assert modules() == set()

"""`ratchet approve` is killed at any instant and typed again: one of everything, and all whole."""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import pytest

from flows.bootstrap import Ratchet, open_project
from registry import AnswerKind, Registry, Verdict, connect
from registry.approvals import awaiting
from registry.gate_config import ApprovalConfig
from registry.mlflow_seam import MlflowSeam
from registry.nights.docket import Docket
from registry.verdict import Decision

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "tests" / "acceptance" / "cli_project"
MODELS = tuple(f"model-{number}" for number in range(19))
SCHEDULE = """
schedules:
  told: {flow: nightly, asset: "model:*", missed: all, overlap: allow}
"""


def verdict(model: str, version: str, epoch: int) -> Verdict:
    return Verdict(
        model=model, challenger=version, champion="1" if epoch else None, epoch=epoch,
        decision=Decision.PROMOTE, promote=True, reason=f"Version {version} is better.",
        metric="accuracy", challenger_score=0.9, baseline=0.8, difference=0.1, low=0.05, high=0.15,
        confidence=0.95, rows=500, rules=(), run_id=f"run-{version}", mlflow_run_id="",
    )  # fmt: skip


def waits_for_approval(registry: Registry, client: object, model: str, now: datetime) -> None:
    """Version 1 is champion, and version 2 waits."""
    client.create_registered_model(model)  # type: ignore[attr-defined]
    for _ in range(2):
        client.create_model_version(model, "file:///nowhere")  # type: ignore[attr-defined]
    registry.promote(verdict(model, "1", 0), actor="flow retrain", now=now)
    waits = awaiting(verdict(model, "2", 1), ApprovalConfig(required=True), now)
    docket = Docket(epoch=1)
    assert registry.keep_night(docket, waits, challenger="2", dataset="d", expected=0, now=now)


@pytest.fixture
def ratchet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ratchet:
    """A project with a schedule on all models, each of which has a version that waits."""
    project = Path(copytree(PROJECT, tmp_path / "project"))
    with (project / "conf" / "config.yaml").open("a") as config:
        config.write(SCHEDULE)
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    opened = open_project(project)
    config_of = opened.settings.registry
    with connect(config_of) as registry:
        client = MlflowSeam(config_of).client
        for model in MODELS:
            waits_for_approval(registry, client, model, datetime.now(UTC))
    return opened


def test_an_approval_that_is_killed_and_typed_again_is_one_answer_one_entry_and_one_fire(
    ratchet: Ratchet,
) -> None:
    declared = ratchet.declared()
    ratchet.schedules.sync(declared.schedules, declared.problems)
    scheduler, now = ratchet.scheduler(lambda: None), ratchet.clock.now()
    assert scheduler.tick(now) == []
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.approvers", str(ratchet.project), "1", *MODELS],
        cwd=ROOT,
        env={**os.environ, "RATCHET_HOME": str(ratchet.home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    reached = Counter(json.loads(done.stdout).values())
    assert reached["torn"] == 0, "an answer without its entry, or the other way round"
    assert {"nothing", "pending", "settled"} <= reached.keys(), f"no kill met one: {reached}"
    with connect(ratchet.settings.registry) as registry:
        for model in MODELS:
            assert registry.verify(model) is None
            (answer,) = registry.answers(model)
            assert (answer.answer, answer.version) == (AnswerKind.APPROVE, "2")
            assert [entry.version for entry in registry.entries(model)] == ["1", "2"]
            status = registry.champion(model)
            assert (status.version, status.settled, status.outsider) == ("2", True, None)
    store = ratchet.service.store
    told = Counter(update.asset for update in store.assets.newest())
    assert told == Counter(f"model:{model}" for model in MODELS)
    scheduler.tick(now + timedelta(minutes=10))
    assert len(store.schedules.fires("told", 1000)) == len(MODELS)
    ratchet.close()

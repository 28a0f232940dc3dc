"""`ratchet prune` on a real home: runs that really ran, the registry's real ledger."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import registry
from flows.bootstrap import Ratchet, open_project
from flows.core.errors import RatchetError
from flows.core.records import Run
from flows.housekeeping.prune import Plan, carry_out, plan
from flows.settings import revealed
from ray_jobs.leftovers import Leftover
from registry.verdict import Decision

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FLOW = '''
from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flows.core.context import current
from flows.core.flow import flow, task
from ray_jobs import ArtifactStore


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    name: str = "d1"
    parts: tuple[str, ...] = ()
    fail: bool = False


@task
def extract(name: str, parts: list[str]) -> dict[str, Any]:
    """A dataset as Ray's extraction leaves it: parts, and a manifest that names them."""
    print("extracting", name)
    folder = f"{current().config['artifacts']}/datasets/v"
    store = ArtifactStore(folder)
    names = [f"d1/{part.rjust(32, '0')}.parquet" for part in parts]
    for part in names:
        store.write_text(f"parts/{part}", "rows")
        store.write_text(f"parts/{part.removesuffix('.parquet')}.json", "[]")
    manifest = {"parts": [{"name": part} for part in names]}
    store.write_text(f"{name}/manifest.json", json.dumps(manifest))
    return {"uri": f"{folder}/{name}", "digest": name, "definition": "d1", "sources": []}


@task
def train(dataset: dict[str, Any], fail: bool) -> dict[str, Any]:
    if fail:
        raise ValueError("no")
    return {"model": "digits", "version": "1", "mlflow_run_id": "", "model_uri": ""}


@flow(config="loop")
def loop(cfg: LoopConfig) -> None:
    train(extract(cfg.name, cfg.parts), cfg.fail)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prune")
    files = {
        "prune_loop.py": FLOW,
        "conf/flow/loop.yaml": "# @package _global_\nname: d1\n",
        "conf/config.yaml": "defaults:\n  - ratchet\n  - _self_\n"
        "flows: [prune_loop]\nexecutor: threads\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def empty_home(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an initialised MLflow, which takes seconds to make."""
    home = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RATCHET_HOME", str(home))
        patch.setattr(sys, "path", [*sys.path])
        ratchet = open_project(project)
        with registry.connect(revealed(ratchet.settings.registry)) as connected:
            connected.champion("digits")
        ratchet.close()
    return home


@pytest.fixture
def ratchet(
    project: Path, empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ratchet]:
    home = Path(shutil.copytree(empty_home, tmp_path / "home"))
    monkeypatch.setenv("RATCHET_HOME", str(home))
    monkeypatch.setattr(sys, "path", [*sys.path])
    opened = open_project(project)
    yield opened
    opened.close()


Looped = Callable[..., Run]


@pytest.fixture
def looped(ratchet: Ratchet) -> Looped:
    """Runs the flow once, with a dataset of so many parts."""

    def run(name: str, *parts: str, fail: bool = False) -> Run:
        overrides = [f"name={name}", f"parts=[{','.join(parts)}]", f"fail={str(fail).lower()}"]
        started = ratchet.start(ratchet.flow("loop"), overrides, trigger={"kind": "test"})
        with ratchet.engine() as engine:
            engine.run_until_ended([started.id])
        return ratchet.service.find(started.id)

    return run


def planned(ratchet: Ratchet, keep: int = 0) -> Plan:
    return plan(ratchet, older_than=timedelta(0), keep=keep)


def datasets(ratchet: Ratchet) -> set[str]:
    folder = Path(ratchet.settings.artifacts, "datasets", "v")
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def part(name: str) -> str:
    return f"parts/d1/{name.rjust(32, '0')}.parquet"


def ids(runs: Any) -> list[str]:
    return [each.run.id if hasattr(each, "run") else each.id for each in runs]


def test_a_plan_changes_nothing_and_the_deed_leaves_what_newer_runs_need(
    ratchet: Ratchet, looped: Looped
) -> None:
    old, new = looped("d1", "a", "b", fail=True), looped("d2", "b", "c")
    before = datasets(ratchet)
    found = planned(ratchet, keep=1)
    assert (ids(found.runs), found.live, found.busy) == ([old.id], (), ())
    assert [Path(each.uri).name for each in found.datasets] == ["d1"]
    assert found.bytes > 0
    assert datasets(ratchet) == before
    assert ratchet.service.show(old.id).tasks

    assert carry_out(ratchet, found) == (old.id,)
    left = datasets(ratchet)
    assert {part("b"), part("c"), "d2/manifest.json"} <= left
    assert not {part("a"), "d1/manifest.json"} & left
    assert not (ratchet.logs / old.id).exists()
    assert (ratchet.logs / new.id).exists()
    with pytest.raises(RatchetError, match=f"run {old.id} was pruned"):
        ratchet.service.retry(old.id)
    assert planned(ratchet, keep=1).runs == ()


def test_the_run_and_the_dataset_of_a_champion_stay_and_so_do_those_before_it(
    ratchet: Ratchet, looped: Looped
) -> None:
    runs = [looped(f"d{number}", f"p{number}") for number in range(4)]
    with registry.connect(revealed(ratchet.settings.registry)) as connected:
        client = connected.tracking._seam.client
        client.create_registered_model("digits")
        for number in (1, 2):
            version = client.create_model_version("digits", "file:///nowhere")
            tags = {"ratchet.run": runs[number].id, "ratchet.dataset": f"d{number}"}
            connected.models.set_tags("digits", version.version, tags)
        for number in (1, 2):
            verdict = registry.Verdict(
                model="digits", challenger=str(number), champion=None, epoch=number - 1,
                decision=Decision.PROMOTE, promote=True, reason="better", metric="accuracy",
                challenger_score=0.9, baseline=None, difference=None, low=None, high=None,
                confidence=0.95, rows=9, rules=(), run_id=runs[number].id, mlflow_run_id="",
            )  # fmt: skip
            connected.promote(verdict, actor="test", now=NOW)
    found = planned(ratchet)
    assert ids(found.live) == [runs[1].id, runs[2].id]
    assert ids(found.runs) == [runs[0].id, runs[3].id]
    carry_out(ratchet, found)
    assert {"d1/manifest.json", "d2/manifest.json", part("p1"), part("p2")} <= datasets(ratchet)
    assert not {"d0/manifest.json", "d3/manifest.json", part("p0"), part("p3")} & datasets(ratchet)


def test_a_version_that_an_outsider_made_champion_keeps_its_dataset(
    ratchet: Ratchet, looped: Looped
) -> None:
    """Its run may have been pruned before, or be another installation's: the tag is enough."""
    looped("d1", "a")
    with registry.connect(revealed(ratchet.settings.registry)) as connected:
        client = connected.tracking._seam.client
        client.create_registered_model("digits")
        client.create_model_version("digits", "file:///x", tags={"ratchet.dataset": "d1"})
        client.set_registered_model_alias("digits", "champion", "1")
    found = planned(ratchet)
    assert (len(found.runs), found.datasets) == (1, ())


def test_datasets_wait_while_their_flow_is_at_work(ratchet: Ratchet, looped: Looped) -> None:
    old = looped("d1", "a")
    ratchet.start(ratchet.flow("loop"), ["name=d2"], trigger={"kind": "test"})
    found = planned(ratchet)
    assert (found.runs, found.datasets, ids(found.busy)) == ((), (), [old.id])


def test_a_dataset_that_a_run_came_to_use_since_the_plan_stays(
    ratchet: Ratchet, looped: Looped, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = looped("d1", "a")
    found = planned(ratchet)
    hide = Leftover.hide

    def reused_meanwhile(leftover: Leftover) -> None:
        looped("d1", "a")
        hide(leftover)

    with monkeypatch.context() as patch:
        patch.setattr(Leftover, "hide", reused_meanwhile)
        assert carry_out(ratchet, found) == ()
    assert {"d1/manifest.json", part("a")} <= datasets(ratchet)
    assert ratchet.service.show(old.id).tasks
    assert carry_out(ratchet, planned(ratchet, keep=1)) == (old.id,)
    assert {"d1/manifest.json", part("a")} <= datasets(ratchet)


def test_a_prune_that_is_killed_between_files_and_rows_is_completed_by_the_next(
    ratchet: Ratchet, looped: Looped, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = looped("d1", "a")
    found = planned(ratchet)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ratchet.service.store.prune, "forget", killed)
        with pytest.raises(KeyboardInterrupt):
            carry_out(ratchet, found)
    assert datasets(ratchet) == set()
    again = planned(ratchet)
    assert (ids(again.runs), again.files) == ([old.id], 0)
    assert carry_out(ratchet, again) == (old.id,)


def test_a_dataset_outside_of_the_runs_own_artifact_store_is_never_touched(
    ratchet: Ratchet, looped: Looped, tmp_path: Path
) -> None:
    run = looped("d1", "a")
    value = json.dumps({"uri": str(tmp_path), "digest": "", "definition": "", "sources": []})
    with ratchet.service.store.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE task_run SET value = ? WHERE run_id = ? AND key = 'train'", (value, run.id)
        )
    assert [Path(each.uri).name for each in planned(ratchet).datasets] == ["d1"]


def test_nothing_is_pruned_while_the_ledger_cannot_be_read(
    ratchet: Ratchet, looped: Looped
) -> None:
    looped("d1", "a")
    ledger = Path(ratchet.settings.home, "ledger.db")
    ledger.write_text("this is no database, whatever its name says " * 50)
    with pytest.raises(registry.RegistryError):
        planned(ratchet)
    assert "d1/manifest.json" in datasets(ratchet)

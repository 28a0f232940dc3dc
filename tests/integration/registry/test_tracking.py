"""One MLflow run for each run, whatever is repeated; no secret reaches it."""

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry import Comparison, GateConfig, Registry, RegistryConfig, connect, decide
from registry.errors import RegistryUnreachable

CONFIG = "gate:\n  metric: accuracy\nstore:\n  url: postgresql://me:hunter2@db/x\n"


def open_run(registry: Registry, run_id: str = "run-1", **changes: Any) -> str:
    fields = {"config_yaml": CONFIG, "config_digest": "abc", **changes}
    return registry.tracking.open_run(run_id, "retrain", **fields).mlflow_run_id


def stored(registry: Registry, mlflow_run_id: str) -> Any:
    return registry.tracking._seam.client.get_run(mlflow_run_id)


def test_a_run_is_found_again_by_its_id(registry: Registry) -> None:
    first = open_run(registry, link="http://127.0.0.1/run/1", tags={"data": "v3"})
    assert open_run(registry) == first
    assert open_run(registry, run_id="run-2") != first
    assert registry.tracking.find_run("run-1", "retrain") == first
    assert registry.tracking.find_run("run-9", "retrain") is None
    run = stored(registry, first)
    assert run.data.tags["ratchet.run"] == "run-1"
    assert run.data.tags["ratchet.link"] == "http://127.0.0.1/run/1"
    assert run.data.tags["data"] == "v3"
    assert run.info.run_name == "run-1"


def test_a_crash_after_the_run_was_created_is_made_good(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = registry.tracking._seam.client

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(client), "log_text", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(registry)
    mlflow_run_id = open_run(registry)
    experiment = client.get_experiment_by_name("retrain").experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment])] == [mlflow_run_id]
    assert [file.path for file in client.list_artifacts(mlflow_run_id)] == ["config.yaml"]


@pytest.mark.parametrize(
    ("ending", "theirs"),
    [
        ("succeeded", "FINISHED"),
        ("halted", "FINISHED"),
        ("failed", "FAILED"),
        ("cancelled", "KILLED"),
    ],
)
def test_an_ending_keeps_our_word_and_a_retry_opens_the_run_again(
    registry: Registry, now: datetime, ending: str, theirs: str
) -> None:
    mlflow_run_id = open_run(registry)
    registry.tracking.end_run(mlflow_run_id, ending, now=now, reason="because")
    run = stored(registry, mlflow_run_id)
    assert (run.info.status, run.data.tags["ratchet.status"]) == (theirs, ending)
    assert run.info.end_time == int(now.timestamp() * 1000)
    assert open_run(registry) == mlflow_run_id
    assert stored(registry, mlflow_run_id).info.status == "RUNNING"


def test_figures_settings_and_files_are_written(
    registry: Registry, now: datetime, tmp_path: Path
) -> None:
    mlflow_run_id = open_run(registry)
    tracking = registry.tracking
    tracking.log_metrics(mlflow_run_id, {"accuracy": 0.9, "rows": 100}, now=now)
    tracking.log_params(mlflow_run_id, {"trainer.depth": 3, "db.password": "hunter2"})
    tracking.log_params(mlflow_run_id, {"trainer.depth": 4, "other": 1})
    tracking.log_dict(mlflow_run_id, {"token": "hunter2", "view": {"version": 3}}, "data.json")
    tracking.log_tags(mlflow_run_id, {"url": "https://me:hunter2@host/"})
    run = stored(registry, mlflow_run_id)
    assert run.data.metrics == {"accuracy": 0.9, "rows": 100.0}
    assert run.data.params == {"trainer.depth": "3", "db.password": "***", "other": "1"}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b'"version": 3' in written
    assert b"hunter2" not in written


def test_a_verdict_leaves_tags_json_and_plots(
    registry: Registry, mlflow_run: str, versions: Callable[[int], list[str]]
) -> None:
    versions(1)
    y = np.arange(300) % 2
    comparison = Comparison(y=y, challenger=np.roll(y, 1), champion=y)
    verdict = decide(comparison, GateConfig(), model="digits", challenger="1", champion="9")
    registry.record_verdict(replace(verdict, mlflow_run_id=mlflow_run), comparison)
    client = registry.tracking._seam.client
    files = {file.path for file in client.list_artifacts(mlflow_run)}
    files |= {file.path for file in client.list_artifacts(mlflow_run, "plots")}
    assert {"verdict.json", "plots/differences.png", "plots/confusion.png"} <= files
    assert registry.models.version("digits", "1").tags["ratchet.verdict"] == "hold"


def test_the_files_lie_beside_the_database_not_in_the_working_folder(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    open_run(registry)
    assert list(elsewhere.iterdir()) == []
    assert list((tmp_path / "artifacts" / "retrain").rglob("config.yaml"))


def test_threads_write_into_their_own_runs_and_leave_none_active(
    registry: Registry, now: datetime
) -> None:
    import mlflow

    made: dict[str, str] = {}

    def work(name: str) -> None:
        made[name] = open_run(registry, run_id=name)
        registry.tracking.log_metrics(made[name], {name: 1.0}, now=now)
        assert mlflow.active_run() is None

    threads = [threading.Thread(target=work, args=(f"run-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    for name, mlflow_run_id in made.items():
        assert set(stored(registry, mlflow_run_id).data.metrics) == {name}


def open_in_process(config: RegistryConfig, start: Any, name: str) -> None:
    start.wait()
    with connect(config) as registry:
        open_run(registry, run_id=name)


@pytest.mark.slow
def test_processes_that_meet_a_new_mlflow_at_once_all_succeed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    config = RegistryConfig(tracking_uri=uri, ledger_url=f"sqlite:///{tmp_path}/ledger.db")
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [
        context.Process(target=open_in_process, args=(config, start, f"run-{n}")) for n in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with connect(config) as registry:
        assert registry.tracking.find_run("run-0", "retrain") is not None
        assert registry.tracking.find_run("run-1", "retrain") is not None


def test_a_server_that_is_down_is_said_in_one_sentence(tmp_path: Path) -> None:
    # Port 9 (discard) on the loopback: nobody listens.
    config = RegistryConfig(
        tracking_uri="http://me:hunter2@127.0.0.1:9", ledger_url=f"sqlite:///{tmp_path}/ledger.db"
    )
    with connect(config) as registry, pytest.raises(RegistryUnreachable) as caught:
        open_run(registry)
    assert "MLflow at http://127.0.0.1:9 does not answer" in str(caught.value)
    assert "registry.tracking_uri" in str(caught.value.hint)
    assert not caught.value.permanent


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = RegistryConfig(
        tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db", ledger_url="sqlite:///"
    )
    with connect(config) as registry, pytest.raises(RegistryUnreachable, match="cannot be written"):
        open_run(registry)

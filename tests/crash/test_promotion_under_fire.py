"""Fifty flows race to promote fifty challengers and are killed meanwhile: one chain, all of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from registry import RegistryConfig, connect
from registry.mlflow_seam import MlflowSeam
from tests.crash.promoters import KILLS_EACH, MODEL

FLOWS = 50
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryConfig:
    """Fifty registered versions, and no champion yet."""
    new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
    ledger = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else new_postgres()
    made = RegistryConfig(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", ledger_url=ledger)
    client = MlflowSeam(made).client
    client.create_registered_model(MODEL)
    for _ in range(FLOWS):
        client.create_model_version(MODEL, "file:///nowhere")
    return made


def raced(folder: Path, config: RegistryConfig, seed: int) -> dict[str, int]:
    folder.mkdir()
    arguments = [str(folder), json.dumps(asdict(config)), str(FLOWS), str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.promoters", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_fifty_flows_that_are_killed_while_they_race_make_one_chain(
    config: RegistryConfig, tmp_path: Path
) -> None:
    counts = raced(tmp_path / "flows", config, seed=1)
    with connect(config) as registry:
        entries, status = registry.entries(MODEL), registry.champion(MODEL)
        assert registry.verify(MODEL) is None
    assert [entry.epoch for entry in entries] == list(range(1, FLOWS + 1))
    assert sorted(int(entry.version) for entry in entries) == list(range(1, FLOWS + 1))
    assert [entry.previous_version for entry in entries[1:]] == [e.version for e in entries[:-1]]
    assert len({entry.run_id for entry in entries}) == FLOWS
    assert all(entry.settled_at is not None for entry in entries)
    assert (status.version, status.settled, status.outsider) == (entries[-1].version, True, None)
    told = {path.stem: int(path.read_text()) for path in (tmp_path / "flows").glob("*.promoted")}
    assert told == {entry.run_id: entry.epoch for entry in entries}
    assert counts["promoted"] == FLOWS
    assert "failed" not in counts
    assert 0 < counts["killed"] <= FLOWS * KILLS_EACH

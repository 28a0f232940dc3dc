"""Fifty flows race to promote fifty challengers and are killed meanwhile: one chain, all of it."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from registry import RegistryConfig, connect
from registry.mlflow_seam import MlflowSeam
from tests.crash.promoters import MODEL

FLOWS = {"sqlite": 50, "postgres": 20}
ROOT = Path(__file__).parents[2]


def prepared(folder: Path, ledger_url: str, flows: int) -> RegistryConfig:
    """So many registered versions, and no champion yet."""
    made = RegistryConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", ledger_url=ledger_url)
    client = MlflowSeam(made).client
    client.create_registered_model(MODEL)
    for _ in range(flows):
        client.create_model_version(MODEL, "file:///nowhere")
    return made


def raced(folder: Path, config: RegistryConfig, flows: int, seed: int) -> dict[str, int]:
    """What was counted while the flows raced in processes of their own."""
    folder.mkdir()
    arguments = [str(folder), json.dumps(asdict(config)), str(flows), str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.promoters", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def with_one_letter_changed(path: Path, epoch: int, column: str) -> None:
    """What somebody does who may write to the file: no trigger is in the way."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        query = f"SELECT {column} FROM ledger_entry WHERE epoch = ?"
        (value,) = connection.execute(query, (epoch,)).fetchone()
        before = str(value)
        middle = len(before) // 2
        changed = before[:middle] + ("1" if before[middle] != "1" else "2") + before[middle + 1 :]
        connection.execute(
            f"UPDATE ledger_entry SET {column} = ? WHERE epoch = ?", (changed, epoch)
        )


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_flows_that_are_killed_while_they_race_make_one_chain(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    flows, url = FLOWS[database], f"sqlite:///{tmp_path}/ledger.db"
    if database == "postgres":
        new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
        url = new_postgres()
    config = prepared(tmp_path, url, flows)
    counts = raced(tmp_path / "flows", config, flows, seed=1)
    with connect(config) as registry:
        entries, status = registry.entries(MODEL), registry.champion(MODEL)
        assert registry.verify(MODEL) is None
    assert [entry.epoch for entry in entries] == list(range(1, flows + 1))
    assert sorted(int(entry.version) for entry in entries) == list(range(1, flows + 1))
    assert [entry.previous_version for entry in entries[1:]] == [e.version for e in entries[:-1]]
    assert all(entry.settled_at is not None for entry in entries)
    assert (status.version, status.settled, status.outsider) == (entries[-1].version, True, None)
    told = {path.stem: int(path.read_text()) for path in (tmp_path / "flows").glob("*.promoted")}
    assert told == {entry.run_id: entry.epoch for entry in entries}
    assert "failed" not in counts
    assert counts["killed"] > flows // 2
    assert counts["repeated"] > 0, "no kill met a promotion that had been written"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> RegistryConfig:
    """Four flows have raced, and all was well."""
    folder = tmp_path_factory.mktemp("history")
    config = prepared(folder, f"sqlite:///{folder}/ledger.db", 4)
    raced(folder / "flows", config, 4, seed=2)
    with connect(config) as registry:
        assert registry.verify(MODEL) is None
    return config


@pytest.mark.parametrize(
    "column",
    ["version", "previous_version", "action", "verdict", "run_id", "actor", "reason", "at",
     "prev_hash", "hash"],
)  # fmt: skip
def test_one_letter_of_history_changed_is_found_and_named(
    column: str, history: RegistryConfig, tmp_path: Path
) -> None:
    copy = tmp_path / "ledger.db"
    with closing(sqlite3.connect(history.ledger_url.removeprefix("sqlite:///"))) as whole:
        whole.execute("VACUUM INTO ?", (str(copy),))
    with_one_letter_changed(copy, 3, column)
    with connect(replace(history, ledger_url=f"sqlite:///{copy}")) as registry:
        broken = registry.verify(MODEL)
    assert broken is not None
    assert broken.epoch == 3

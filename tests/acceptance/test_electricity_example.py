"""The example of docs/example-electricity.md, on the user's own file, by the commands it shows.

The file's address comes from RATCHET_ELEC_CSV, or else from beside the checkout.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "electricity"
DATA = Path(os.environ.get("RATCHET_ELEC_CSV") or ROOT.parent / "shared/data/elec.csv")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_file(), reason=f"no file {DATA}: set RATCHET_ELEC_CSV"),
]

NIGHTS = ("1997-05-01", "1997-06-01", "1997-07-01")
"""Up to which day the data has come when the loop runs."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A copy of the example, in which somebody types its commands."""

    folder: Path

    def run(self, *command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Type a command in the project's folder."""
        beside = Path(sys.executable).parent
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RATCHET_", "RAY_"))}
        return subprocess.run(
            [str(beside / command[0]), *command[1:]],
            cwd=self.folder,
            env={**kept, "RATCHET_ELEC_CSV": str(DATA.resolve())},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def told(self, *command: str) -> Any:
        """What a command prints with --json."""
        done = self.run("ratchet", *command, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The example after its nights."""
    made = Project(folder=tmp_path_factory.mktemp("electricity") / "project")
    shutil.copytree(EXAMPLE, made.folder, ignore=shutil.ignore_patterns(".ratchet", "__pycache__"))
    for night in NIGHTS:
        loaded = made.run("python", "load.py", night)
        assert loaded.returncode == 0, loaded.stdout + loaded.stderr
        done = made.run("ratchet", "run", "retrain")
        assert done.returncode in (0, 3), done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def nights(project: Project) -> list[dict[str, Any]]:
    """The runs of the nights, in order, with everything about them."""
    runs = [run for run in project.told("runs") if run["status"] != "skipped"]
    return [project.told("show", run["id"]) for run in reversed(runs)]


def test_the_example_passes_its_own_check(project):
    assert project.told("check")["ok"]


def test_each_night_ends_promoted_or_halted_by_the_gate(nights):
    assert len(nights) == len(NIGHTS)
    decided = {"promote": "succeeded", "hold": "halted"}
    for night in nights:
        assert night["status"] == decided[night["verdict"]["decision"]], night["reason"]
    assert nights[0]["verdict"]["decision"] == "promote"


def test_the_champion_is_the_last_model_that_the_gate_let_through(project, nights):
    promoted = [n["verdict"] for n in nights if n["verdict"]["decision"] == "promote"]
    champion, ledger = (
        project.told("champion", "electricity"),
        project.told("ledger", "electricity"),
    )
    assert champion["version"] == promoted[-1]["challenger"]
    assert [entry["version"] for entry in ledger] == [verdict["challenger"] for verdict in promoted]
    assert project.run("ratchet", "ledger", "electricity", "--verify").returncode == 0


def test_the_newest_thirty_days_judge_and_no_model_has_seen_them(nights):
    seen = ""
    for night in nights:
        challenger = value(night, "train")
        assert challenger["train_until"] < challenger["holdout_from"]
        assert seen < challenger["holdout_from"]
        assert challenger["holdout_rows"] == 30 * 48
        if night["verdict"]["decision"] == "promote":
            seen = challenger["train_until"]


def test_a_later_night_extracts_only_what_is_new(nights):
    made = [value(night, "extract") for night in nights]
    assert [dataset["reused"] for dataset in made] == [0, 1, 2]
    assert [dataset["parts"] for dataset in made] == [1, 2, 3]


def test_what_is_published_does_not_follow_from_what_comes_after_it():
    spec = importlib.util.spec_from_file_location("electricity_load", EXAMPLE / "load.py")
    assert spec is not None
    assert spec.loader is not None
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    rows = load.half_hours(DATA).head(1000)
    # The same half hours, told by a file that ends in the middle of them.
    whole, cut = load.published(rows), load.published(rows.head(500))
    assert whole.head(500).equals(cut)
    assert (whole["known_at"] > rows["at"]).all()


def test_the_models_are_given_published_columns_and_the_calendar(nights):
    for night in nights:
        assert set(value(night, "extract")["columns"]) == {
            *("period", "hour_sin", "hour_cos", "weekday", "rose", "transfer"),
            *("price", "price_day", "price_week", "price_yesterday"),
            *("over_day", "over_week", "yesterday_over_day"),
            *("demand", "demand_yesterday", "demand_ahead"),
        }


def test_they_have_learned_something(nights):
    """Far better than naming the commoner class; not always better than "as half an hour ago"."""
    for night in nights:
        challenger = value(night, "train")
        guess = commoner(challenger["holdout_from"], challenger["holdout_until"])
        assert night["verdict"]["challenger_score"] > guess + 0.1


def test_a_night_without_new_data_is_skipped(project, nights):
    assert project.run("python", "load.py", NIGHTS[-1]).returncode == 0
    done = project.run("ratchet", "run", "retrain")
    assert done.returncode == 0
    assert "no new data in electricity" in done.stdout


def commoner(since: str, until: str) -> float:
    """Share of the commoner class among the half hours from `since` to `until`."""
    import polars as pl

    first, half_hour = datetime(1996, 5, 7, tzinfo=UTC), timedelta(minutes=30)
    start, end = ((datetime.fromisoformat(at) - first) // half_hour for at in (since, until))
    labels = pl.read_csv(DATA)["class"][start : end + 1].to_list()
    share = sum(labels) / len(labels)
    return max(share, 1 - share)


def value(night: dict[str, Any], task: str) -> dict[str, Any]:
    """What a task of the night returned."""
    (found,) = [t["value"] for t in night["tasks"] if t["key"] == task]
    return dict(found)

"""A team's own project: an empty folder elsewhere, the wheel, their config and their modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

PROJECT = {
    "conf/config.yaml": """
        defaults:
          - ratchet
          - override ray: small
          - _self_
        flows: [team.flows]
        allowed_modules: [shapes]
        """,
    "conf/ray/small.yaml": """
        defaults: [embedded]
        num_cpus: 2
        object_store_mb: 100
        """,
    "conf/flow/refresh.yaml": """
        # @package _global_
        defaults:
          - /features: points
          - /checks: default
          - /trainer: nearest_mean
          - /gate: default
          - _self_
        model: points
        greeting: hello
        gate:
          min_rows: 40
          floors: {accuracy: 0.8}
        """,
    "conf/features/points.yaml": """
        view: points
        functions: [team.features:add_distance]
        columns: [x, y, distance]
        holdout: {fraction: 0.25, min_rows: 40}
        """,
    "conf/trainer/nearest_mean.yaml": """
        kind: sklearn
        estimator: shapes.NearestMean
        params: {shrink: 0.1}
        """,
    "team/__init__.py": "",
    "team/geometry.py": """
        import pyarrow.compute as pc

        def distance(x, y):
            return pc.sqrt(pc.add(pc.multiply(x, x), pc.multiply(y, y)))
        """,
    "team/features.py": """
        from team.geometry import distance

        def add_distance(table):
            return table.append_column("distance", distance(table["x"], table["y"]))
        """,
    "shapes.py": """
        import numpy as np
        from sklearn.base import BaseEstimator, ClassifierMixin

        class NearestMean(ClassifierMixin, BaseEstimator):
            def __init__(self, shrink=0.0):
                self.shrink = shrink

            def fit(self, X, y):
                X = np.asarray(X)
                self.classes_ = np.unique(y)
                means = np.stack([X[y == c].mean(axis=0) for c in self.classes_])
                self.means_ = (1 - self.shrink) * means + self.shrink * X.mean(axis=0)
                return self

            def predict(self, X):
                gaps = np.asarray(X)[:, None, :] - self.means_[None, :, :]
                return self.classes_[np.argmin((gaps**2).sum(axis=2), axis=1)]
        """,
    "team/flows.py": """
        from dataclasses import dataclass

        import flows
        from flows import flow, task, when
        from flows.retrain import RetrainConfig, check, evaluate, extract, halt, poll
        from flows.retrain import promote, train
        from registry import LedgerEntry

        @dataclass(frozen=True, kw_only=True)
        class RefreshConfig(RetrainConfig):
            greeting: str

        @dataclass(frozen=True, kw_only=True)
        class Origin:
            ratchet: str
            team: str

        @task(executor="ray")
        def origin() -> Origin:
            return Origin(ratchet=flows.__file__, team=__file__)

        @task
        def announce(entry: LedgerEntry, greeting: str) -> str:
            print(f"{greeting} from version {entry.version}")
            return f"{greeting}: {entry.model} {entry.version} is live"

        @flow(config="refresh")
        def refresh(cfg: RefreshConfig) -> None:
            '''Our own loop, of Ratchet's tasks and ours.'''
            where = origin()
            snapshot = poll(cfg.features, cfg.model)
            report = check(snapshot, cfg.checks, cfg.features, cfg.model)
            dataset = extract(snapshot, cfg.features, after=[report, where])
            challenger = train(dataset, cfg.trainer, cfg.features, cfg.model)
            verdict = evaluate(challenger, dataset, cfg.features, cfg.gate)
            entry = promote(verdict, dataset)
            when(verdict.promote).then(entry)
            when(~verdict.promote).then(halt(verdict, dataset))
            announce(entry, cfg.greeting)
        """,
}

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@dataclass(frozen=True, kw_only=True)
class Team:
    """A folder with a team's project, and an environment with the wheel in it."""

    folder: Path
    bin: Path

    def run(self, *command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Type a command in the team's folder, with its environment activated."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RATCHET_", "RAY_", "PYTHON", "VIRTUAL_ENV", "UV_"))
        }
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env={**kept, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"},
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
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """The team's project, with its data in the feature store; nothing has been run yet."""
    base = tmp_path_factory.mktemp("own")
    folder = base / "project"
    for name, text in PROJECT.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip())
    _points().to_csv(folder / "points.csv", index=False)
    made = Team(folder=folder, bin=_environment(base, _wheel(base)))
    created = made.run(
        "ratchet", "features", "create", "points", "points.csv",
        "--entity", "point", "--event-time", "at", "--label", "inside",
    )  # fmt: skip
    assert created.returncode == 0, created.stdout + created.stderr
    return made


@pytest.fixture(scope="module")
def refreshed(team: Team) -> dict[str, Any]:
    """The first run of the team's own flow, as `ratchet show --json` tells it."""
    done = team.run("ratchet", "run", "refresh", "greeting=good morning")
    assert done.returncode == 0, done.stdout + done.stderr
    shown: dict[str, Any] = team.told("show", "last")
    return shown


def test_the_project_is_checked_without_running_it(team):
    done = team.run("ratchet", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flow refresh, 9 tasks" in done.stdout
    assert "everything is as it should be" in done.stdout


def test_their_flow_runs_from_the_wheel_with_their_own_tasks_features_and_estimator(
    team, refreshed
):
    tasks = {task["key"]: task for task in refreshed["tasks"]}
    assert refreshed["flow"] == "refresh"
    assert refreshed["status"] == "succeeded"
    assert tasks["announce"]["value"] == "good morning: points 1 is live"
    assert tasks["extract"]["value"]["columns"] == ["x", "y", "distance"]
    assert tasks["train"]["value"]["params"]["shrink"] == "0.1"
    assert refreshed["config"]["trainer"]["estimator"] == "shapes.NearestMean"
    assert refreshed["verdict"]["decision"] == "promote"
    assert team.told("champion", "points")["version"] == "1"


def test_the_ray_workers_had_their_modules_and_the_wheels(team, refreshed):
    (origin,) = [t["value"] for t in refreshed["tasks"] if t["key"] == "origin"]
    assert Path(origin["team"]) == team.folder / "team" / "flows.py"
    assert Path(origin["ratchet"]).is_relative_to(team.bin.parent)
    assert not Path(origin["ratchet"]).is_relative_to(ROOT)


def test_runs_lists_it_as_json(team, refreshed):
    newest = team.told("runs")[0]
    assert {key: newest[key] for key in ("id", "flow", "status")} == {
        "id": refreshed["id"],
        "flow": "refresh",
        "status": "succeeded",
    }


def test_with_nothing_new_their_flow_is_skipped_with_the_reason(team, refreshed):
    done = team.run("ratchet", "run", "refresh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no new data in points" in done.stdout


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.estimatr=shapes.NearestMean", "trainer.estimator"),
        ("greting=hello", "greeting"),
        ("trainer=nearest_meen", "nearest_mean"),
        ("gate.min_rows=many", "a whole number"),
        ("trainer.estimator=forms.NearestMean", "not in an allowed module"),
        ("features.functions=[os.path:join]", "not in an allowed module"),
    ],
)
def test_a_typo_is_refused_in_one_line_that_names_what_was_meant(team, override, said):
    done = team.run("ratchet", "run", "refresh", override)
    assert done.returncode == 2
    assert done.stdout == ""
    error, *more = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert override.split("=")[0] in error
    assert [line[:8] for line in more] in ([], ["  next: "])


def test_a_wrong_dotted_path_fails_the_run_with_the_nearest_name(team, refreshed):
    more = _points(first=400)
    more.to_csv(team.folder / "more.csv", index=False)
    assert team.run("ratchet", "features", "append", "points", "more.csv").returncode == 0
    done = team.run("ratchet", "run", "refresh", "trainer.estimator=shapes.NearestMaen", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    run = json.loads(done.stdout)
    assert run["status"] == "failed"
    assert "the nearest is 'NearestMean'" in run["reason"]
    assert "\n" not in run["reason"]
    (train,) = [t for t in team.told("show", "last")["tasks"] if t["key"] == "train"]
    assert train["attempt"] == 1  # a retry cannot help, and none was made


def _points(first: int = 0, count: int = 400) -> Any:
    """Points in the plane, one an hour, and whether they lie inside the unit circle."""
    import pandas as pd

    number = np.arange(first, first + count)
    x, y = np.random.default_rng(first).normal(size=(2, count))
    return pd.DataFrame(
        {
            "point": number,
            "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(number, unit="h"),
            "x": x,
            "y": y,
            "inside": (np.hypot(x, y) < 1).astype(int),
        }
    )


def _wheel(base: Path) -> Path:
    """Ratchet's wheel, built from the checkout with the tools that are installed here."""
    _tool("build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable,
          "--out-dir", str(base / "dist"), str(ROOT))  # fmt: skip
    (wheel,) = (base / "dist").glob("ratchet_ml-*.whl")
    return wheel


def _environment(base: Path, wheel: Path) -> Path:
    """A new environment with the wheel; what it depends on is seen through a .pth file.

    Editable installs of the environment here stay unseen: .pth files are not followed twice.
    """
    folder = base / "venv"
    python = str(folder / "bin" / "python")
    _tool("venv", "--quiet", "--python", sys.executable, str(folder))
    _tool("pip", "install", "--quiet", "--no-deps", "--python", python, str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def _tool(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    command = str(beside) if beside.exists() else shutil.which("uv")
    assert command is not None, "uv is needed to build the wheel: pip install uv"
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"} | {"UV_OFFLINE": "1"}
    subprocess.run([command, *arguments], check=True, cwd=ROOT, env=environment)

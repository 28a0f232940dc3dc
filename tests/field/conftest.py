"""One warm Ray and one folder for all cases of a process: a run costs seconds."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from flows.core.executors.processes import ProcessExecutor
from flows.core.executors.protocol import Deliver
from tests.field.project import VIEW, Project


class WarmProcesses(ProcessExecutor):
    """One worker process for all runs: each new one would import MLflow again."""

    def open(self, deliver: Deliver) -> None:
        """Have the next run's outcomes delivered."""
        if self._pool is None:
            super().open(deliver)
        else:
            self._pool._deliver = deliver

    def close(self) -> None:
        """The next run goes on with it."""


@pytest.fixture(scope="session")
def warm_processes() -> Iterator[WarmProcesses]:
    """What runs the tasks that do not run on Ray."""
    made = WarmProcesses(1)
    yield made
    ProcessExecutor.close(made)


@pytest.fixture(scope="session")
def field_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path for all: a Ray worker serves the projects of one path only."""
    return tmp_path_factory.mktemp("field")


@pytest.fixture
def project(
    warm_ray: Path,
    field_folder: Path,
    warm_processes: WarmProcesses,
    empty_mlflow: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """An empty folder with the config of one view, churn; nothing in it was created yet."""
    for name in [name for name in os.environ if name.startswith("RATCHET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("flows.bootstrap.ProcessExecutor", lambda slots: warm_processes)
    # MLflow keeps a database open by its path, so each case has a home of its own.
    made = Project(field_folder, Path(mkdtemp(dir=field_folder.parent, prefix="home-")))
    made.configure()
    made.write("conf/features/churn.yaml", VIEW)
    shutil.copy(empty_mlflow, made.home / "mlflow.db")
    yield made
    for path in field_folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()

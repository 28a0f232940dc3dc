"""A project folder in which the demo has been run once, through its real command."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Project:
    """A folder in which somebody types commands."""

    folder: Path

    def run(
        self, *command: str, timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Type a command, as in a terminal with the environment activated."""
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RATCHET_", "RAY_"))}
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**clean, "PATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Where `ratchet demo` has been run and has ended well."""
    project = Project(tmp_path_factory.mktemp("demo"))
    done = project.run("ratchet", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    (project.folder / "demo.txt").write_text(done.stdout)
    return project

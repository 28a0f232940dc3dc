"""A small project, and `ratchet` typed in it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.app import app

PROJECT = Path(__file__).parents[2] / "acceptance" / "cli_project"

Ratchet = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


@pytest.fixture
def ratchet(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ratchet:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str) -> Any:
        given = ["--project", str(project), *arguments]
        return CliRunner().invoke(app, given, prog_name="ratchet")

    return run

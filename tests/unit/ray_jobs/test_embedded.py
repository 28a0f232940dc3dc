"""What an embedded Ray finds in its environment, before any of it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_jobs import EmbeddedRay, RayConfig, connect
from ray_jobs.embedded import set_ray_environment

NAMES = (
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_USAGE_STATS_ENABLED",
    "RAY_task_oom_retries",
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "ray", raising=False)


def test_a_private_token_is_made_once_and_named_to_ray(tmp_path: Path) -> None:
    set_ray_environment(RayConfig(), tmp_path / "home")
    token = tmp_path / "home" / "ray-token"
    first = token.read_text()
    assert len(first) == 64
    assert token.stat().st_mode & 0o777 == 0o600
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)
    set_ray_environment(RayConfig(), tmp_path / "home")
    assert token.read_text() == first
    assert [p.name for p in token.parent.iterdir()] == ["ray-token"]


def test_a_token_file_of_the_user_is_used(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("secret")
    set_ray_environment(RayConfig(token_path=str(own)), tmp_path / "home")
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(own)
    assert own.read_text() == "secret"


def test_what_the_user_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    set_ray_environment(RayConfig(), tmp_path)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert not list(tmp_path.iterdir())


def test_connecting_starts_nothing(tmp_path: Path) -> None:
    client = connect(RayConfig(), str(tmp_path / "artifacts"), tmp_path / "home")
    assert isinstance(client, EmbeddedRay)
    assert client.dashboard_url is None
    client.close()
    assert not list(tmp_path.iterdir())


def test_importing_ray_jobs_imports_nothing_heavy() -> None:
    heavy = ["ray", "mlflow", "sklearn", "pandas", "torch", "xgboost", "polars", "duckdb"]
    code = f"import sys, ray_jobs; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

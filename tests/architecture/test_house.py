"""The house stays in order: directions, sizes, names, and what is public."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import flows

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "feature_store", "ray_jobs", "registry")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
HEAVY = ("ray", "mlflow", "sklearn", "pandas", "torch", "xgboost", "polars", "duckdb", "deltalake")
SLOW = ("numpy", "pyarrow", "scipy", "fastapi", "hydra", "pydantic")
"""What a process imports once it needs it; its start does not wait for them."""


def test_imports_go_downward_only():
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-3000:]


def imported_with(module, names):
    script = f"import sys, {module}; print([name for name in {names!r} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def test_importing_the_training_loop_imports_nothing_heavy():
    assert imported_with("flows.retrain", (*HEAVY, "pyarrow")) == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_waits_for_no_library_but_the_small_ones(package):
    assert imported_with(package, (*HEAVY, *SLOW, "sqlalchemy")) == "[]"


def test_what_is_always_on_starts_without_what_it_needs_later():
    assert imported_with("flows.cli.always_on", (*HEAVY, *SLOW)) == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_hides_a_public_name_of_its_package(package):
    public = importlib.import_module(package)
    modules = {module.name for module in pkgutil.iter_modules(public.__path__)}
    assert not modules & set(public.__all__)
    assert all(hasattr(public, name) for name in public.__all__)


def test_the_public_names_of_flows_are_these():
    assert sorted(flows.__all__) == [
        "Backoff", "Cron", "Deadline", "Flow", "GiveUp", "Halt", "Interval", "Late", "Missed",
        "NewData", "OnAsset", "OnRequest", "Overlap", "RatchetError", "Retry", "RetryRule", "RunIf",
        "Schedule", "Skip", "Task", "TaskContext", "current", "flow", "noticed", "produced",
        "task", "when",
    ]  # fmt: skip
    assert all(hasattr(flows, name) for name in flows.__all__)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_source_file_stays_readable_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 420


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "helpers", "common", "misc"}
    assert [path for path in SOURCES if path.stem in drawers] == []


def test_the_clock_is_read_in_one_place_of_the_core():
    offenders = []
    for path in sorted((ROOT / "flows" / "core").rglob("*.py")):
        if path.name == "clock.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "time.sleep", "datetime.now", "time.time", "datetime.utcnow",
            ):  # fmt: skip
                offenders.append(f"{path.name}:{node.lineno}")
    assert offenders == []


def test_first_party_imports_stand_at_the_top():
    offenders = []
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom)
                    else [a.name for a in node.names] if isinstance(node, ast.Import)
                    else []
                )  # fmt: skip
                if any(name.split(".")[0] in PACKAGES for name in names):
                    offenders.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert offenders == []

"""Resident memory that a model adds to a process: measured in a fresh one, which does only that.

`added_mb` starts this module as a program. It reads the rows, notes its resident memory, loads the
model with its libraries, predicts, and writes how far its memory rose at most.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.trainers.scoring import predictions
from registry import LoadedModel, ModelVersion, Registry
from registry.fitted import Card, Flavor
from registry.models import CARD_FILE, from_files

LIMIT_S = 300.0
_MEGABYTE = 1_000_000
_ORDER, _ANSWER, _ROWS = "order.json", "answer.json", "rows.parquet"


class NotMeasured(Exception):
    """The process that was to measure did not come to an end."""


def added_mb(
    model: LoadedModel,
    rows: pa.Table,
    registered: Registry,
    modules: tuple[str, ...] = (),
    limit_s: float = LIMIT_S,
) -> float:
    """Megabytes (1,000,000 bytes) of memory for the model, its libraries and its predictions.

    Raises NotMeasured, with what the process said last, and the registry's errors.
    """
    with tempfile.TemporaryDirectory(prefix="ratchet-memory-") as made:
        folder = Path(made)
        stored = folder / "model"
        stored.mkdir()
        files = registered.models.download(model.model, model.version, stored)
        pq.write_table(rows, folder / _ROWS)
        version = registered.models.version(model.model, model.version)
        order = {
            "version": asdict(version),
            "files": str(files),
            "trusted": [*registered.config.trusted_modules, *modules],
            "paths": sys.path,
        }
        (folder / _ORDER).write_text(json.dumps(order), encoding="utf-8")
        _run(folder, limit_s)
        return float(json.loads((folder / _ANSWER).read_text(encoding="utf-8"))["added_mb"])


def _run(folder: Path, limit_s: float) -> None:
    command = [sys.executable, "-m", "ray_jobs.memory", str(folder)]
    # The job's own paths, for the project's modules and where Ratchet itself is not installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as late:
        raise NotMeasured(f"loading it and predicting took longer than {limit_s:g} s") from late
    if ended.returncode != 0:
        said = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
        raise NotMeasured(f"a process that loads it ended: {said}")


def main(folder: Path) -> None:
    """Measure, in this process, what the order in the folder asks for."""
    order = json.loads((folder / _ORDER).read_text(encoding="utf-8"))
    files, rows = Path(order["files"]), pq.read_table(folder / _ROWS)
    _import_storage(files)
    _forget_peak()
    before = _resident()
    version = ModelVersion(**order["version"])
    predictions(from_files(version, files, tuple(order["trusted"])), rows)
    added = max(_peak() - before, 0) / _MEGABYTE
    (folder / _ANSWER).write_text(json.dumps({"added_mb": added}), encoding="utf-8")


def _import_storage(files: Path) -> None:
    """Import what only reads the files (MLflow), which is no cost of the model."""
    card = Card.from_json((files / CARD_FILE).read_text(encoding="utf-8"))
    module = {Flavor.XGBOOST: "mlflow.xgboost", Flavor.TORCH: "mlflow.pytorch"}.get(card.flavor)
    if module is not None:
        importlib.import_module(module)


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _resident() -> int:
    """Bytes that this process has in memory now."""
    return _of_status("VmRSS") or _ever()


def _peak() -> int:
    """Bytes that it had at most."""
    return _of_status("VmHWM") or _ever()


def _of_status(name: str) -> int | None:
    """A figure of Linux about this process; not `getrusage`, which remembers its parent's peak."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _ever() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The user's project folders, put together for nodes that do not see them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFT_BEHIND = ("__pycache__", "*.pyc", ".git", ".venv", "venv", ".ratchet", "node_modules")
"""Names that are never sent; Ray also leaves out what a .gitignore or .rayignore names."""


@contextmanager
def shipped(import_paths: tuple[str, ...]) -> Iterator[Path | None]:
    """One folder that holds what all the paths hold, for the time of a submission.

    The first path wins where two hold the same file, as in an import. None without paths.
    """
    if len(import_paths) <= 1:
        yield Path(import_paths[0]) if import_paths else None
        return
    with tempfile.TemporaryDirectory(prefix="ratchet-ship-") as name:
        folder = Path(name)
        for path in reversed(import_paths):
            shutil.copytree(
                path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND)
            )
        yield folder

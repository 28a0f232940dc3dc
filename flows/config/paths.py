"""Relative paths of the settings made absolute, once, from the project folder."""

from __future__ import annotations

import os
from pathlib import Path

PATHS = (
    "home",
    "artifacts",
    "feature_store.uri",
    "registry.export_uri",
    "registry.artifact_uri",
    "ray.token_path",
)
DATABASES = ("store.url", "registry.tracking_uri", "registry.ledger_url")


def anchored(key: str, value: str, project: Path) -> str:
    """The value of a setting with its path absolute; URIs and references to secrets stay."""
    if value.startswith("secret:"):
        return value
    return _absolute_sqlite(value, project) if key in DATABASES else _absolute(value, project)


def _absolute(path: str, project: Path) -> str:
    if "://" in path:
        return path
    return os.path.normpath(project / Path(path).expanduser())


def _absolute_sqlite(url: str, project: Path) -> str:
    scheme, separator, path = url.partition(":///")
    in_file = scheme.startswith("sqlite") and separator and path and not path.startswith(":")
    return f"{scheme}:///{_absolute(path, project)}" if in_file else url

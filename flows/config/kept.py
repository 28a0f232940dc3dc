"""Merged configs that are kept on disk: Hydra takes half a second to import and to merge.

What is kept is valid as long as the files and the environment variables that it was made from are
the same: it is never wrong, at worst not there. It holds references to secrets, no secrets.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feature_store import FeatureStoreConfig
from flows.config import schema
from flows.config.sources import ConfigPath, Stamp, anchored, settled, stamp_of
from flows.core.alert import Throttle
from flows.core.schedule import Schedule
from flows.settings import Settings
from ray_jobs import RayConfig
from registry import RegistryConfig

FOLDER = "composed"
"""Below the home; readable by its owner alone."""
MOST = 64
"""So many files are kept, the newest."""

_RESOLVER = re.compile(r"\$\{\s*([^${}:]*?)\s*:")
_MADE_UP = re.compile(r"\$\{[^:{}]*\$\{")  # a name that is interpolated itself
_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z_]\w*)\s*[,}]")
_REPEATABLE = frozenset(
    {"oc.create", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.env"}
    | {"oc.select", "secret"}
)
"""Resolvers that give the same for the same environment."""
_HOME = re.compile(
    r"^home:[ \t]*(?:\$\{oc\.env:(\w+),)?[ \t]*([^\s#${}'\"]+)\}?[ \t]*(?:#.*)?$", re.MULTILINE
)
_LIBRARIES = ("hydra", "omegaconf", "yaml")


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What files and overrides say together, before it is typed."""

    raw: dict[str, Any]  # interpolations as they are written
    data: dict[str, Any]  # and resolved
    settings: Any = None  # those of it, as `values.to_json` has them, once they were validated


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The place of one merged config: of a project, for a combination of overrides."""

    where: ConfigPath
    overrides: Sequence[str]
    begun: int  # when the files were looked at, in nanoseconds
    stamp: Stamp  # of everything that is read: the config files, and the code that merges them

    @classmethod
    def of(cls, where: ConfigPath, overrides: Sequence[str]) -> Kept:
        """Before anything is read."""
        return cls(where=where, overrides=overrides, begun=time.time_ns(), stamp=_stamp(where))

    def read(self) -> Merged | None:
        """What was kept, if it is what merging would give now."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            head, body = _own_text(self._file).split("\n", 1)
            of = json.loads(head)
            stamp = _digest(self.stamp, _environment(of["variables"]))
            if of["stamp"] == stamp and of["sha256"] == _digest(body):
                return Merged(**json.loads(body))
        return None

    def write(self, merged: Merged) -> None:
        """Keep what was merged since `begun`, where that can be told from what comes later."""
        with suppress(OSError):
            body, variables = _exact_json(vars(merged)), self._variables(merged)
            in_home = merged.data.get("home") == str(self._home) and self._home.is_dir()
            stays = self.stamp == _stamp(self.where) and settled(self.stamp, self.begun)
            if body is not None and variables is not None and in_home and stays:
                stamp = _digest(self.stamp, _environment(variables))
                head = {"variables": variables, "stamp": stamp, "sha256": _digest(body)}
                _replace(self._file, f"{json.dumps(head)}\n{body}")

    def _variables(self, merged: Merged) -> list[str] | None:
        """The environment variables that were read; None where that is not known."""
        names = {"HOME"}
        for text in self._texts(merged):
            resolvers, variables = _RESOLVER.findall(text), _VARIABLE.findall(text)
            plain = not _MADE_UP.search(text) and resolvers.count("oc.env") == len(variables)
            if not plain or not _REPEATABLE.issuperset(resolvers):
                return None
            names.update(variables)
        return sorted(names)

    def _texts(self, merged: Merged) -> Iterator[str]:
        yield from self.overrides
        yield from (text for _, text in schema.texts(merged.raw))
        for file in self.where.files():  # a list of defaults may hold interpolations too
            yield file.read_text("utf-8", errors="replace") if file.exists() else ""

    @property
    def _file(self) -> Path:
        return self._home / FOLDER / f"{_digest(str(self.where.project), *self.overrides)}.json"

    @cached_property
    def _home(self) -> Path:
        """The home that the config seems to name; nothing is kept in another."""
        file = self.where.project / "conf" / "config.yaml"
        text = file.read_text("utf-8", errors="replace") if file.is_file() else ""
        line = _HOME.search(text)
        variable, path = line.groups() if line else ("RATCHET_HOME", ".ratchet")
        path = os.environ.get(variable, path) if variable else path
        return Path(anchored("home", path, self.where.project))


def _stamp(where: ConfigPath) -> Stamp:
    kinds = (Settings, Schedule, Throttle, FeatureStoreConfig, RayConfig, RegistryConfig)
    declared = [Path(inspect.getfile(kind)) for kind in kinds]
    code = sorted([*Path(__file__).parent.glob("*.py"), *declared])
    libraries = [Path(spec.origin) for n in _LIBRARIES if (spec := find_spec(n)) and spec.origin]
    return (*where.stamp(), *stamp_of([*code, *libraries]))


def _environment(variables: Sequence[str]) -> list[str | None]:
    return [os.environ.get(name) for name in variables]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _exact_json(data: Any) -> str | None:
    """JSON that reads as the very same data; None: there is none."""
    try:
        text = json.dumps(data, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return text if json.loads(text) == data else None


def _own_text(file: Path) -> str:
    """A file that nobody else may have written or read. Raises OSError."""
    with file.open(encoding="ascii") as opened:
        status = os.fstat(opened.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(f"{file} is not this user's alone")
        return opened.read()


def _replace(file: Path, text: str) -> None:
    """Write a file whole, and forget the oldest beside it."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent)  # for this user alone
    try:
        with os.fdopen(number, "w", encoding="ascii") as opened:
            opened.write(text)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    newest = sorted(file.parent.iterdir(), key=lambda each: each.stat().st_mtime_ns, reverse=True)
    for old in newest[MOST:]:
        old.unlink(missing_ok=True)

"""Where config files are, and what relative paths in them are relative to: the project's folder.

The project's own conf/ comes first, Ratchet's behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from flows.config import schema
from flows.core.errors import ConfigError

ENTRY = "hydra"  # our folder with the one file that Hydra starts from; no group of anybody's
TICK_NS = 2_000_000_000
"""The coarsest clock of a file system."""
PATHS = (
    "home",
    "artifacts",
    "feature_store.uri",
    "registry.export_uri",
    "registry.artifact_uri",
    "ray.token_path",
)
"""Settings that are paths."""
DATABASES = ("store.url", "registry.tracking_uri", "registry.ledger_url")
"""Settings that are URLs of databases; that of SQLite holds a path."""
_FLOWS = Path(__file__).resolve().parents[1]

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Of files: path, inode, size, time of the content, time of any change."""


@dataclass(frozen=True, kw_only=True)
class ConfigPath:
    """The folders that config files are looked up in; an earlier one wins."""

    project: Path  # absolute; relative paths of a config start here
    folders: tuple[Path, ...]

    @property
    def entry(self) -> Path:
        """The folder with Ratchet's entry file."""
        return self.folders[-1] / ENTRY

    def groups(self) -> tuple[str, ...]:
        """All config groups: folders below conf/ that hold YAML, such as "trainer"."""
        parents = {
            file.parent.relative_to(folder).as_posix()
            for folder in self.folders
            for file in folder.rglob("*.yaml")
        }
        return tuple(sorted(parents - {".", ENTRY}))

    def options(self, group: str) -> tuple[str, ...]:
        """The choices in a group: the names of its YAML files."""
        found = {f.stem for folder in self.folders for f in (folder / group).glob("*.yaml")}
        return tuple(sorted(found))

    def file(self, name: str) -> Path | None:
        """The file that `name` ("gate/default") stands for."""
        for folder in self.folders:
            if (path := folder / f"{name}.yaml").is_file():
                return path
        return None

    def shown(self, file: Path) -> str:
        """The file's path as a user knows it: below the project, or below Ratchet's conf/."""
        if file.is_relative_to(self.project):
            return file.relative_to(self.project).as_posix()
        ours = self.folders[-1]
        if file.is_relative_to(ours):
            return f"Ratchet's conf/{file.relative_to(ours).as_posix()}"
        return str(file)

    def origin(self, path: schema.KeyPath, loaded: Iterable[tuple[str, str]]) -> str | None:
        """File and line that set the key at `path`; None when no loaded file has it.

        `loaded` holds the config files of the composition as (name, package), weakest first.
        """
        for name, package in reversed(list(loaded)):
            below = tuple(p for p in package.split(".") if p)
            file = self.file(name)
            if file is None or tuple(path[: len(below)]) != below:
                continue
            line = _line(file, path[len(below) :])
            if line is not None:
                return f"{self.shown(file)}, line {line}"
        return None

    def containing(self, text: str) -> str | None:
        """The first file and line that hold `text`."""
        for file in self.files():
            for i, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1):
                if text in line:
                    return f"{self.shown(file)}, line {i}"
        return None

    def not_text(self) -> str | None:
        """The first file that is not UTF-8."""
        for file in self.files():
            try:
                file.read_text("utf-8")
            except UnicodeDecodeError:
                return self.shown(file)
        return None

    def stamp(self) -> Stamp:
        """Changes when a config file does, comes or goes."""
        return stamp_of(self.files())

    def files(self) -> list[Path]:
        """All config files, those in folders that are links too."""
        return [file for folder in self.folders for file in sorted(_yaml_below(folder, set()))]


def stamp_of(files: Iterable[Path]) -> Stamp:
    """Path, inode, size and times of each file; zeros where a link leads nowhere."""
    return tuple(_stamp_of(file) for file in files)


def _stamp_of(file: Path) -> tuple[str, int, int, int, int]:
    with suppress(OSError):
        status = file.stat()
        times = status.st_mtime_ns, status.st_ctime_ns
        return str(file), status.st_ino, status.st_size, *times
    return str(file), 0, 0, 0, 0


def settled(stamp: Stamp, at_ns: int) -> bool:
    """Whether any later change of the files has another stamp, if there was none by `at_ns`.

    A file that changed a moment before may change again within the same tick of its clock.
    """
    return all(changed < at_ns - TICK_NS for *_, changed in stamp)


def _yaml_below(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    if (place := (status.st_dev, status.st_ino)) in visited:
        return  # a link to a folder above
    with suppress(PermissionError):
        for entry in os.scandir(folder):
            if entry.is_dir():
                yield from _yaml_below(Path(entry), visited | {place})
            elif entry.name.endswith(".yaml"):
                yield Path(entry)


def config_path(project: Path) -> ConfigPath:
    """The config folders of a project. Raises ConfigError when the project is no folder."""
    if not project.is_dir():
        raise ConfigError(
            f"The project folder {project} does not exist.",
            hint="give an existing folder with --project, or leave it out for the current one",
        )
    project, ours = project.resolve(), _ours()
    theirs = project / "conf"
    folders = (theirs, ours) if theirs.is_dir() and theirs != ours else (ours,)
    return ConfigPath(project=project, folders=folders)


def _ours() -> Path:
    """Ratchet's conf/: inside the package of a wheel, beside it in a checkout."""
    for folder in (_FLOWS / "conf", _FLOWS.parent / "conf"):
        if (folder / ENTRY / "main.yaml").is_file():
            return folder
    raise ConfigError(
        f"Ratchet's own conf/ is missing beside {_FLOWS}.", hint="reinstall ratchet-ml"
    )


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


def _line(file: Path, path: schema.KeyPath) -> int | None:
    """The line, from 1, on which `file` sets the key at `path`; None when it does not."""
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return None
    line = None
    for key in path:
        if isinstance(node, yaml.MappingNode):
            pair = next((p for p in node.value if p[0].value == str(key)), None)
            if pair is None:
                return None
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            if key >= len(node.value):
                return None
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            return None
    return line

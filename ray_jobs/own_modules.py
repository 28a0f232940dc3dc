"""A user's own modules in a process that lives longer than one job: none is older than its file.

A worker of Ray, and a notebook's kernel, run one job after another. What was imported from a
project's folder is forgotten once any of these files has changed, so that all that a job imports
is of one state.
"""

from __future__ import annotations

import importlib
import linecache
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

_OURS = frozenset({"flows", "feature_store", "ray_jobs", "registry", "__main__", "__mp_main__"})
_LIBRARIES = tuple(f"{sysconfig.get_paths()[name]}/" for name in ("stdlib", "purelib", "platlib"))
_STATE = "__ratchet_file__"
"""Attribute of an own module: its file as it was after its import."""


def remember(package: str | None = None) -> None:
    """Note what the files of own modules, or of one package's, look like after their import."""
    for module in _own_modules(package):
        if not hasattr(module, _STATE):
            setattr(module, _STATE, _file_state(module))


def forget_changed(package: str | None = None) -> tuple[str, ...]:
    """Forget the own modules, or one package's, if a file of theirs has changed; their names."""
    own = _own_modules(package)
    changed = any(
        hasattr(module, _STATE) and getattr(module, _STATE) != _file_state(module) for module in own
    )
    if not changed:
        return ()
    names = tuple(module.__name__ for module in own if hasattr(module, _STATE))
    for name in names:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    linecache.checkcache()
    return names


def _own_modules(package: str | None) -> list[ModuleType]:
    """Modules from source files that belong to no library and not to Ratchet.

    Looked for at each task, among thousands: by their file's name alone.
    """
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or file.startswith(_LIBRARIES):
            continue
        top = name.partition(".")[0]
        if name.startswith("_") or top in _OURS or package not in {None, top}:
            continue
        if "/site-packages/" not in file and "/dist-packages/" not in file:
            found.append(module)
    return found


def _file_state(module: ModuleType) -> tuple[int, int] | None:
    try:
        stat = Path(str(module.__file__)).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size

"""Names in a config that become code: allowed modules only, and the nearest name when unknown."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import ModuleType

from ray_jobs.training_errors import UnknownName


def resolve(path: str, allowed: Sequence[str]) -> object:
    """The object that `path` names: "package.module:name" or "package.module.name".

    `allowed` holds module prefixes ("sklearn" allows "sklearn.svm"). Nothing is imported before
    the prefix is found to be allowed. Raises UnknownName, with the nearest name.
    """
    module_name, name = partition(path)
    require_allowed(module_name, path, allowed)
    module = _import(module_name, path)
    try:
        return getattr(module, name)
    except AttributeError:
        pass
    public = [n for n in _names(module) if not n.startswith("_")]
    raise UnknownName(
        f"{path}: module {module_name} has no {name!r}{nearest(name, public)}",
        hint=f"names in {module_name} can be listed with: python -c 'import {module_name}; "
        f"print(dir({module_name}))'",
    )


def partition(path: str) -> tuple[str, str]:
    """Module and name of a dotted path. Raises UnknownName when it is not one."""
    separator = ":" if ":" in path else "."
    module, _, name = path.rpartition(separator)
    if not name.isidentifier() or not all(p.isidentifier() for p in module.split(".")):
        raise UnknownName(
            f"{path!r} is not a dotted path",
            hint='write "package.module:name", for example "myteam.features:add_ratio"',
        )
    return module, name


def require_allowed(module: str, path: str, allowed: Sequence[str]) -> None:
    """Raise UnknownName unless `module` is, or lies below, one of the allowed prefixes."""
    if any(module == prefix or module.startswith(f"{prefix}.") for prefix in allowed):
        return
    top = module.partition(".")[0]
    raise UnknownName(
        f"{path}: module {module} is not among the allowed modules "
        f"({', '.join(allowed) or 'none'}){nearest(top, allowed)}",
        hint=f"if it is yours, add it to the config: allowed_modules: [..., {top}]",
    )


def _import(module: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module != missing and not module.startswith(f"{missing}."):
            raise UnknownName(
                f"{path}: module {module} needs {missing}, which is not installed",
                hint=f"install {missing} where the job runs",
            ) from error
        raise UnknownName(
            f"{path}: there is no module {missing}{_nearest_module(missing)}",
            hint="check the spelling, and that the module's folder is on the import path",
        ) from error
    except Exception as error:
        raise UnknownName(
            f"{path}: importing {module} raised {type(error).__name__}: {error}",
            hint=f"try: python -c 'import {module}'",
        ) from error


def _nearest_module(missing: str) -> str:
    parent, _, name = missing.rpartition(".")
    if not parent:
        return nearest(name, [m.name for m in pkgutil.iter_modules()])
    package = importlib.import_module(parent)  # imported a moment ago, on the way to `missing`
    siblings = [m.name for m in pkgutil.iter_modules(getattr(package, "__path__", []))]
    return nearest(name, siblings)


def _names(module: ModuleType) -> list[str]:
    return sorted({*getattr(module, "__all__", ()), *dir(module)})


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the closest of the known names, or nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f"; the nearest is {close[0]!r}" if close else ""

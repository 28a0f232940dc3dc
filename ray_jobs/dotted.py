"""Names in a config that become code: the one way from a dotted path to an object.

What a path may lead to, whoever wrote it:

- every part of it is public, and its module lies in an allowed one; nothing is imported before;
- it is a class or a function, which an allowed module defines itself: what that has imported
  from elsewhere (`os`, `subprocess.run`) is not its own;
- of a library it is an estimator or a network, of Ratchet's packages one of its networks: their
  other names read files, download or start programs.

Who may write one at all is for `flows.config` to say: nobody outside the installation.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import ModuleType

from ray_jobs.own_modules import forget_changed, remember
from ray_jobs.training_errors import UnknownName

_NETWORKS = "ray_jobs.trainers.network"
_OURS = frozenset({"flows", "feature_store", "ray_jobs", "registry"})

BUILT_IN_MODULES = ("sklearn", "xgboost", "lightgbm", "catboost", "torch", _NETWORKS)
"""What is allowed before a project allows anything."""

_BASES = {
    "sklearn": "sklearn.base.BaseEstimator",
    "xgboost": "sklearn.base.BaseEstimator",
    "lightgbm": "sklearn.base.BaseEstimator",
    "catboost": "catboost.core.CatBoost",
    "torch": "torch.nn.modules.module.Module",
}
"""Library -> the class that those of its classes have as a base which may be named."""


def resolve(path: str, allowed: Sequence[str]) -> object:
    """The class or function that `path` names: "package.module:name" or "package.module.name".

    `allowed` holds module prefixes ("sklearn" allows "sklearn.svm"). Raises UnknownName, with the
    nearest name where there is none.
    """
    module_name, name = require_allowed(path, allowed)
    module = _import(module_name, path)
    try:
        named = getattr(module, name)
    except AttributeError:
        public = [n for n in _names(module) if not n.startswith("_")]
        raise UnknownName(
            f"{path}: module {module_name} has no {name!r}{nearest(name, public)}",
            hint=f"names in {module_name} can be listed with: python -c 'import {module_name}; "
            f"print(dir({module_name}))'",
        ) from None
    require_own(named, path, allowed, getattr(named, "__module__", None))
    return named


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


def require_allowed(path: str, allowed: Sequence[str]) -> tuple[str, str]:
    """Module and name of a path that may be imported. Raises UnknownName; imports nothing."""
    module, name = partition(path)
    if module == "__main__":
        raise UnknownName(
            f"{path}: {name} is defined in a script or notebook, where workers cannot find it",
            hint=f"move it to a module of the project: my_team.module:{name}",
        )
    private = next((part for part in (*module.split("."), name) if part.startswith("_")), None)
    if private is not None:
        raise UnknownName(
            f"{path}: {private} is private",
            hint=f"{private} is private; name it where it is public, such as sklearn.svm:SVC",
        )
    if not _is_allowed(module, allowed):
        top = module.partition(".")[0]
        raise UnknownName(
            f"{path}: module {module} is not among the allowed modules "
            f"({', '.join(allowed) or 'none'}){nearest(top, allowed)}",
            hint=_how_to_allow(top),
        )
    return module, name


def require_own(named: object, path: str, allowed: Sequence[str], home: str | None) -> None:
    """Raise UnknownName unless `named`, which `path` led to, may be called.

    `home` is the module that defines it.
    """
    if not (inspect.isclass(named) or inspect.isfunction(named)):
        raise UnknownName(
            f"{path} is a {type(named).__name__}, not a class or a function",
            hint="write a function that calls it, in a module of your own",
        )
    if home is None or not _is_allowed(home, allowed):
        raise UnknownName(
            f"{path} comes from module {home}, which is not among the allowed modules",
            hint=_how_to_allow(str(home)),
        )
    library = home.partition(".")[0]
    base = _BASES.get(library)
    if base is not None and base not in _bases_of(named):
        raise UnknownName(
            f"{path} is no {base.rpartition('.')[2]}, and nothing else of {library} may be named",
            hint="write a function that calls it, in a module of your own",
        )


def _is_allowed(module: str, allowed: Sequence[str]) -> bool:
    if module.partition(".")[0] in _OURS:
        return module == _NETWORKS and _is_below(module, allowed)
    return _is_below(module, allowed)


def _is_below(module: str, prefixes: Sequence[str]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def _how_to_allow(module: str) -> str:
    if module.partition(".")[0] in _OURS:
        return f"of Ratchet's own modules only {_NETWORKS} may be named"
    return f"if you trust it, add its module in conf/config.yaml: allowed_modules: [{module}]"


def _bases_of(named: object) -> set[str]:
    return {f"{c.__module__}.{c.__qualname__}" for c in getattr(named, "__mro__", ())}


def _import(module: str, path: str) -> ModuleType:
    try:
        package = module.partition(".")[0]
        forget_changed(package)
        imported = importlib.import_module(module)
        remember(package)
        return imported
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

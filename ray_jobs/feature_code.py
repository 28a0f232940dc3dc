"""The source code of feature functions, packed so that it runs as it was, also after a change.

Snapshots hold the text of each function's module and of the project's own modules that it
imports. They are loaded under private module names, beside whatever the project has become, and
imports among them lead to the packed text. Installed libraries are imported as usual. Every
extraction runs packed code, so that packing is proved by use long before an old model needs it.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import importlib.util
import json
import linecache
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from ray_jobs.dotted import nearest, partition, require_allowed, require_own
from ray_jobs.training_errors import FeatureError, UnknownName

_OURS = frozenset({"flows", "feature_store", "ray_jobs", "registry"})
Function = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class FeatureCode:
    """Feature functions and the source text that they need."""

    functions: tuple[str, ...]
    """Dotted paths, in the order in which they are called."""

    modules: dict[str, str]
    """Module name -> source text."""

    @property
    def digest(self) -> str:
        """Sha256 over names and source (hex)."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def pack(functions: Sequence[str], allowed: Sequence[str]) -> FeatureCode:
    """Read the source of `functions` ("module:function") as it is on disk now.

    Raises UnknownName for a path that is not allowed or leads nowhere, FeatureError for a module
    without Python source, or one that cannot be loaded.
    """
    modules: dict[str, str] = {}
    roots: set[Path] = set()
    waiting: list[str] = []
    for path in functions:
        module, _ = require_allowed(path, allowed)
        spec = _spec(module)
        if spec is None or spec.loader is None:
            raise UnknownName(
                f"{path}: there is no module {module}",
                hint="check the spelling, and that the module's folder is on the import path",
            )
        roots.add(_root(spec))
        waiting.append(module)
    tops = {name.partition(".")[0] for name in waiting}
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        modules[name] = _source(name)
        waiting += _own_imports(name, modules[name], lambda m: _is_own(m, tops, roots))
    code = FeatureCode(functions=tuple(functions), modules=dict(sorted(modules.items())))
    space = _Space(code)
    for path in functions:
        function = space.function(path)
        require_own(function, path, allowed, space.home(function))
    return code


def load(code: FeatureCode) -> tuple[Function, ...]:
    """The functions, built from the packed source alone."""
    space = _Space(code)
    return tuple(space.function(path) for path in code.functions)


class _Space:
    """The packed modules of one FeatureCode, loaded on demand under private names."""

    def __init__(self, code: FeatureCode) -> None:
        self.code = code
        self.prefix = f"_features_{code.digest[:12]}"
        self.loaded: dict[str, ModuleType] = {}

    def function(self, path: str) -> Function:
        name, attribute = partition(path)
        module = self.module(name)
        function = getattr(module, attribute, None)
        if callable(function):
            return function  # type: ignore[no-any-return]
        known = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        what = "is not a function" if hasattr(module, attribute) else "does not exist"
        raise UnknownName(f"feature function {path} {what}{nearest(attribute, known)}")

    def home(self, function: Function) -> str | None:
        """The module that defines it, by the name that it has outside."""
        module: str | None = getattr(function, "__module__", None)
        return None if module is None else module.removeprefix(f"{self.prefix}.")

    def module(self, name: str) -> ModuleType:
        if name in self.loaded:
            return self.loaded[name]
        module = self.loaded[name] = ModuleType(f"{self.prefix}.{name}")
        source = self.code.modules.get(name)
        if source is None:  # a package of which only modules below are packed
            module.__path__ = []
            return module
        filename = f"<{self.prefix}>/{name}.py"
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        # Relative imports are resolved against the name that the module had at home.
        is_package = any(other.startswith(f"{name}.") for other in self.code.modules)
        module.__package__ = name if is_package else name.rpartition(".")[0]
        module.__file__ = filename
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self.imported}
        try:
            exec(compile(source, filename, "exec"), vars(module))
        except Exception as error:
            self.loaded.pop(name, None)
            raise FeatureError(
                f"module {name} of the feature functions cannot be loaded: "
                f"{type(error).__name__}: {error}",
                hint=f"try: python -c 'import {name}'",
            ) from error
        return module

    def imported(
        self,
        name: str,
        globals: dict[str, Any] | None = None,  # noqa: A002 (the signature of __import__)
        locals: dict[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Stands in for `__import__` inside the packed modules."""
        home = (globals or {}).get("__package__") or ""
        absolute = importlib.util.resolve_name("." * level + name, home) if level else name
        if not self._holds(absolute):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = self._chain(absolute)
        if not fromlist:
            return self._chain(absolute.partition(".")[0])
        for item in fromlist:
            if self._holds(f"{absolute}.{item}"):
                setattr(module, item, self._chain(f"{absolute}.{item}"))
        return module

    def _holds(self, name: str) -> bool:
        return any(m == name or m.startswith(f"{name}.") for m in self.code.modules)

    def _chain(self, name: str) -> ModuleType:
        """The module, bound as an attribute of its packages, as an import does."""
        module = self.module(name)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(self._chain(parent), last, module)
        return module


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _source(name: str) -> str:
    spec = _spec(name)
    loader: Any = spec.loader if spec is not None else None
    try:
        source = loader.get_source(name)
    except (AttributeError, ImportError, OSError, SyntaxError) as error:
        raise FeatureError(f"the source of module {name} cannot be read: {error}") from error
    if source is None:
        raise FeatureError(
            f"module {name} has no Python source, so that a model cannot carry its features",
            hint="move the feature functions into a .py module",
        )
    return str(source)


def _own_imports(name: str, source: str, is_own: Callable[[str], bool]) -> Iterator[str]:
    """The project's own modules that the source imports, wherever the statement stands."""
    spec = _spec(name)
    is_package = spec is not None and spec.submodule_search_locations is not None
    home = name if is_package else name.rpartition(".")[0]
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise FeatureError(f"module {name} of the feature functions: {error}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(relative, home) if node.level else relative
            candidates = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        # The first test looks at the name alone: finding a module imports its packages.
        yield from (c for c in candidates if is_own(c) and _has_source(_spec(c)))


def _is_own(name: str, tops: Iterable[str], roots: Iterable[Path]) -> bool:
    """Whether a module belongs to the project of the feature functions, not to a library."""
    top = name.partition(".")[0]
    if top in _OURS:
        return False
    spec = _spec(top)
    if spec is None:
        return False
    root = _root(spec)
    return top in tops or (root in roots and "site-packages" not in root.parts)


def _has_source(spec: ModuleSpec | None) -> bool:
    return spec is not None and isinstance(spec.origin, str) and spec.origin.endswith(".py")


def _root(spec: ModuleSpec) -> Path:
    """The folder on the import path from which the module comes."""
    folders = list(spec.submodule_search_locations or ())
    here = Path(folders[0]) if folders else Path(spec.origin or ".")
    return here.absolute().parents[spec.name.count(".")]

"""The source text of a user's own modules, packed so that it runs as it was, also after a change.

A model carries the modules of its feature functions and of its estimator's class, and those of the
same project that these import. Installed libraries are imported as usual.
"""

import ast
import builtins
import importlib
import importlib.util
import linecache
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from registry.errors import RegistryError

_OURS = frozenset({"flows", "feature_store", "ray_jobs", "registry"})
_LIBRARIES = frozenset({"sklearn", "xgboost", "lightgbm", "catboost", "torch"})
_INSTALLED = {"site-packages", "dist-packages"}
_swapping = threading.RLock()


class CodeError(RegistryError):
    """Source code that cannot be packed, or that does not run once it is."""

    permanent = True


def collect(names: Sequence[str]) -> dict[str, str]:
    """Module name -> source text, of the modules and of what they import of the same project.

    Raises CodeError for a module without Python source.
    """
    modules: dict[str, str] = {}
    specs = [spec for name in names if (spec := spec_of(name)) is not None]
    roots = {_root(spec) for spec in specs}
    tops = {name.partition(".")[0] for name in names}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        modules[name] = _source(name)
        waiting += _own_imports(name, modules[name], lambda m: _is_own(m, tops, roots))
    return dict(sorted(modules.items()))


def own(modules: Iterable[str]) -> tuple[str, ...]:
    """Those of the allowed modules that are the user's: neither Ratchet's nor a known library's."""
    foreign = _OURS | _LIBRARIES
    return tuple(dict.fromkeys(m for m in modules if m.partition(".")[0] not in foreign))


def is_installed(name: str) -> bool:
    """Whether a module belongs to an installed package, which its version tells enough of."""
    spec = spec_of(name)
    return spec is None or bool(_INSTALLED & set(_root(spec).parts))


@contextmanager
def in_place(modules: Mapping[str, str]) -> Iterator[None]:
    """While this lasts, an import of a packed module leads to the packed text.

    What was imported so keeps it for good; the process's own modules are back afterwards.
    """
    if not modules:
        yield
        return
    space = Space(modules)
    with _swapping:
        before = {name: sys.modules.get(name) for name in modules}
        try:
            for name in modules:
                sys.modules[name] = space.chain(name)
            yield
        finally:
            for name, module in before.items():
                if module is None:
                    sys.modules.pop(name, None)
                else:
                    sys.modules[name] = module


class Space:
    """Packed modules, loaded on demand: under a prefix of their own, or under their own names."""

    def __init__(self, modules: Mapping[str, str], prefix: str = "") -> None:
        self.modules = modules
        self.prefix = prefix
        self.loaded: dict[str, ModuleType] = {}

    def module(self, name: str) -> ModuleType:
        if name in self.loaded:
            return self.loaded[name]
        module = self.loaded[name] = ModuleType(f"{self.prefix}.{name}" if self.prefix else name)
        source = self.modules.get(name)
        if source is None:  # a package of which only modules below are packed
            module.__path__ = []
            return module
        filename = f"<{self.prefix or '_packed'}>/{name}.py"
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        # Relative imports are resolved against the name that the module had at home.
        is_package = any(other.startswith(f"{name}.") for other in self.modules)
        module.__package__ = name if is_package else name.rpartition(".")[0]
        module.__file__ = filename
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self.imported}
        try:
            exec(compile(source, filename, "exec"), vars(module))
        except Exception as error:
            self.loaded.pop(name, None)
            raise CodeError(
                f"module {name} of the packed code cannot be loaded: "
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
        module = self.chain(absolute)
        if not fromlist:
            return self.chain(absolute.partition(".")[0])
        for item in fromlist:
            if self._holds(f"{absolute}.{item}"):
                setattr(module, item, self.chain(f"{absolute}.{item}"))
        return module

    def _holds(self, name: str) -> bool:
        return any(m == name or m.startswith(f"{name}.") for m in self.modules)

    def chain(self, name: str) -> ModuleType:
        """The module, bound as an attribute of its packages, as an import does."""
        module = self.module(name)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(self.chain(parent), last, module)
        return module


def spec_of(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _source(name: str) -> str:
    spec = spec_of(name)
    loader: Any = spec.loader if spec is not None else None
    try:
        source = loader.get_source(name)
    except (AttributeError, ImportError, OSError, SyntaxError) as error:
        raise CodeError(f"the source of module {name} cannot be read: {error}") from error
    if source is None:
        raise CodeError(
            f"module {name} has no Python source, so that a model cannot carry it",
            hint="move it into a .py module",
        )
    return str(source)


def _own_imports(name: str, source: str, is_own: Callable[[str], bool]) -> Iterator[str]:
    """The project's own modules that the source imports, wherever the statement stands."""
    spec = spec_of(name)
    is_package = spec is not None and spec.submodule_search_locations is not None
    home = name if is_package else name.rpartition(".")[0]
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise CodeError(f"module {name} cannot be packed: {error}") from error
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
        yield from (c for c in candidates if is_own(c) and _has_source(spec_of(c)))


def _is_own(name: str, tops: Iterable[str], roots: Iterable[Path]) -> bool:
    """Whether a module belongs to the project of the feature functions, not to a library."""
    top = name.partition(".")[0]
    if top in _OURS:
        return False
    spec = spec_of(top)
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

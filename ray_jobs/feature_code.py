"""The source code of feature functions, packed so that it runs as it was, also after a change.

Snapshots hold the text of each function's module and of the project's own modules that it
imports. They are loaded under private module names, beside whatever the project has become, and
imports among them lead to the packed text. Installed libraries are imported as usual. Every
extraction runs packed code, so that packing is proved by use long before an old model needs it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ray_jobs.dotted import nearest, partition, require_allowed, require_own
from ray_jobs.training_errors import FeatureError, UnknownName
from registry.source_code import CodeError, Space, collect, spec_of

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
    names = []
    for path in functions:
        module, _ = require_allowed(path, allowed)
        spec = spec_of(module)
        if spec is None or spec.loader is None:
            raise UnknownName(
                f"{path}: there is no module {module}",
                hint="check the spelling, and that the module's folder is on the import path",
            )
        names.append(module)
    with _translated():
        code = FeatureCode(functions=tuple(functions), modules=collect(names))
        space = _space(code)
        for path in functions:
            function = _function(space, path)
            home: str | None = getattr(function, "__module__", None)
            own = None if home is None else home.removeprefix(f"{space.prefix}.")
            require_own(function, path, allowed, own)
    return code


def load(code: FeatureCode) -> tuple[Function, ...]:
    """The functions, built from the packed source alone."""
    with _translated():
        space = _space(code)
        return tuple(_function(space, path) for path in code.functions)


def _space(code: FeatureCode) -> Space:
    return Space(code.modules, f"_features_{code.digest[:12]}")


def _function(space: Space, path: str) -> Function:
    name, attribute = partition(path)
    module = space.module(name)
    function = getattr(module, attribute, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    known = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
    what = "is not a function" if hasattr(module, attribute) else "does not exist"
    raise UnknownName(f"feature function {path} {what}{nearest(attribute, known)}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except CodeError as error:
        raise FeatureError(f"feature functions: {error}", hint=error.hint) from error

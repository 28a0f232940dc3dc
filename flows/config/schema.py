"""What keys a config may have: a tree read off the annotations of frozen dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from flows.core.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the root of a config to one value."""

CODE = "names code"
"""Annotates the keys whose values become code: `field(metadata={"names": "code"})`."""

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    timedelta: "a duration such as 90s, 15m, 6h, 7d or 2w",
    datetime: "a time such as 2026-01-31T06:00:00Z",
    type(None): "null",
}


@dataclasses.dataclass(frozen=True)
class Group:
    """The fields of several dataclasses at one level, with their annotations."""

    fields: Mapping[str, Any]


def keys_of(branch: Any) -> Mapping[str, Any]:
    """The keys of a config dataclass or a group, with their annotations; none of anything else."""
    if isinstance(branch, Group):
        return branch.fields
    return _fields(branch) if is_dataclass(branch) else {}


@lru_cache(maxsize=256)
def _fields(kind: type) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    fields = [f for f in dataclasses.fields(kind) if f.init]
    code = {f.name for f in fields if f.metadata.get("names") == "code"}
    return {
        f.name: Annotated[hints[f.name], CODE] if f.name in code else hints[f.name] for f in fields
    }


def merge(*kinds: type) -> Group:
    """The keys of several dataclasses at one level. Raises ConfigError when two share a key."""
    fields: dict[str, Any] = {}
    for kind in kinds:
        for name in keys_of(kind).keys() & fields.keys():
            raise ConfigError(
                f"{kind.__name__}.{name} has the name of a setting.",
                hint=f"rename the field; taken are {', '.join(sorted(fields))}",
            )
        fields |= keys_of(kind)
    return Group(fields=fields)


def branches(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation itself."""
    if get_origin(annotation) is Annotated:
        return branches(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(b for part in get_args(annotation) for b in branches(part))
    return (annotation,)


def child(annotation: Any, key: str | int) -> Any:
    """The annotation of what is under `key`; None when nothing may be there."""
    return next(_children(annotation, key), None)


def _children(annotation: Any, key: str | int) -> Iterator[Any]:
    """The annotations of what is under `key`, of each alternative that has it."""
    for branch in branches(annotation):
        below = keys_of(branch).get(str(key), _element(branch, key))
        if below is not None:
            yield below


def names_code(annotation: Any, path: KeyPath) -> bool:
    """Whether what is at `path` becomes code: by a key that its dataclass marks, or `_target_`."""
    if get_origin(annotation) is Annotated and CODE in get_args(annotation):
        return True
    if not path:
        return False
    if path[0] == "_target_":
        return True
    return any(names_code(below, path[1:]) for below in _children(annotation, path[0]))


def holds_code(annotation: Any) -> bool:
    """Whether there are keys below that become code."""
    below = ((*keys_of(b).values(), *get_args(b)) for b in branches(annotation))
    return names_code(annotation, ()) or any(holds_code(each) for part in below for each in part)


def _element(branch: Any, key: str | int) -> Any:
    origin, args = get_origin(branch) or branch, get_args(branch)
    if branch is Any:
        return Any
    if not isinstance(origin, type) or issubclass(origin, str):
        return None
    if issubclass(origin, Mapping):
        return args[1] if args else Any
    if issubclass(origin, Sequence) and isinstance(key, int):
        if not args:
            return Any
        repeated = origin is not tuple or args[-1] is Ellipsis
        return args[0] if repeated else args[min(key, len(args) - 1)]
    return None


def is_dataclass(annotation: Any) -> bool:
    """Whether the annotation is a dataclass (the type, not an instance)."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def names(annotation: Any) -> tuple[str, ...]:
    """The keys that may stand directly below; none for a leaf or a free mapping."""
    return tuple(name for branch in branches(annotation) for name in keys_of(branch))


def at(annotation: Any, path: KeyPath) -> Any:
    """The annotation at `path`; None when the schema has no such key."""
    for key in path:
        annotation = child(annotation, key)
        if annotation is None:
            return None
    return annotation


def leaves(annotation: Any, prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key path of the schema, groups before what they hold."""
    for name in names(annotation):
        path = (*prefix, name)
        yield path
        yield from leaves(child(annotation, name), path)


def items(data: Any) -> Iterator[tuple[Any, Any]]:
    """What is directly below: keys of a mapping or positions of a list, with their values."""
    if isinstance(data, Mapping):
        yield from data.items()
    elif isinstance(data, list | tuple):
        yield from enumerate(data)


def first_unknown(annotation: Any, data: Any, prefix: KeyPath = ()) -> KeyPath | None:
    """The path of the first key of `data` that the schema does not have."""
    known = bool(names(annotation))
    for key, value in items(data):
        path = (*prefix, key)
        below = child(annotation, key)
        if below is None:
            if known and isinstance(data, Mapping):
                return path
            continue  # a value of the wrong type: said by the validation
        if unknown := first_unknown(below, value, path):
            return unknown
    return None


def nearest(annotation: Any, path: KeyPath) -> str | None:
    """The valid key that was probably meant by the unknown one at the end of `path`."""
    for depth in range(len(path)):
        parent, key = at(annotation, path[:depth]), str(path[depth])
        if child(parent, path[depth]) is not None:
            continue
        if close := difflib.get_close_matches(key, names(parent), n=1, cutoff=0.6):
            meant = (*path[:depth], close[0], *path[depth + 1 :])
            return dotted(meant if at(annotation, meant) is not None else meant[: depth + 1])
        break
    last = str(path[-1])
    everywhere = list(leaves(annotation))
    for candidate in everywhere:
        if candidate[-1] == last:
            return dotted(candidate)
    by_name = {str(p[-1]): p for p in reversed(everywhere)}
    close = difflib.get_close_matches(last, by_name, n=1, cutoff=0.75)
    return dotted(by_name[close[0]]) if close else None


def dotted(path: KeyPath) -> str:
    """The path as an override writes it: checks.ranges.0.column."""
    return ".".join(str(key) for key in path)


def parse(text: str) -> KeyPath:
    """The path that an override or an interpolation writes; the opposite of `dotted`."""
    return tuple(int(k) if k.isdigit() else k for k in text.replace("/", ".").split("."))


def nodes(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every group, list and value in plain data, with its path."""
    yield path, data
    for key, value in items(data):
        yield from nodes(value, (*path, key))


def texts(data: Any) -> Iterator[tuple[KeyPath, str]]:
    """Every text value in plain data, with its path."""
    return ((path, value) for path, value in nodes(data) if isinstance(value, str))


def describe(annotation: Any) -> str:
    """What the annotation expects, in a config writer's words."""
    words = [_describe(branch) for branch in branches(annotation)]
    return " or ".join(dict.fromkeys(words))


def _describe(branch: Any) -> str:
    if keys := keys_of(branch):
        return f"a group of keys ({', '.join(keys)})"
    origin, args = get_origin(branch) or branch, get_args(branch)
    if origin is Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if branch in _WORDS:
        return _WORDS[branch]
    if isinstance(origin, type):
        if issubclass(origin, Enum):
            return "one of " + ", ".join(str(m.value) for m in origin)
        if issubclass(origin, Mapping):
            return "a mapping"
        if issubclass(origin, Sequence):
            return f"a list of {_plural(args[0])}" if args and args[0] is not Any else "a list"
    return str(branch)


def _plural(annotation: Any) -> str:
    words = {str: "texts", int: "whole numbers", float: "numbers"}
    if is_dataclass(annotation):
        return f"groups of keys ({', '.join(names(annotation))})"
    return words.get(annotation, f"values, each {describe(annotation)}")


def close(word: str, words: Sequence[str]) -> str | None:
    """The one of `words` that a misspelt `word` was probably meant to be."""
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return found[0] if found else None

"""Whether a value of one annotated type may be given where another is asked for."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

_UNIONS = (Union, types.UnionType)
_LISTS = (list, tuple, Sequence)


def fits(source: Any, target: Any) -> bool:
    """True when every `source` is a `target`, as a type checker would see it."""
    if Any in (source, target) or isinstance(target, TypeVar) or source == target:
        return True
    source, target = _plain(source), _plain(target)
    if get_origin(source) in _UNIONS:
        return all(fits(option, target) for option in get_args(source))
    if get_origin(target) in _UNIONS:
        return any(fits(source, option) for option in get_args(target))
    if target is float and source is int:  # the numeric tower of PEP 484
        return True
    return _classes_fit(source, target)


def _classes_fit(source: Any, target: Any) -> bool:
    source_class, target_class = get_origin(source) or source, get_origin(target) or target
    if not (isinstance(source_class, type) and isinstance(target_class, type)):
        return False
    both_lists = source_class in _LISTS and target_class in _LISTS
    if not both_lists and not issubclass(source_class, target_class):
        return False
    if not get_args(source) or not get_args(target):
        return True
    if issubclass(target_class, Mapping):
        return fits(element_of(source, ""), element_of(target, ""))
    return fits(element_of(source, 0), element_of(target, 0))


def element_of(annotation: Any, key: str | int) -> Any:
    """The type of `value[key]` for a value of this annotation; Any when it does not say."""
    args = [a for a in get_args(annotation) if a is not Ellipsis]
    origin = get_origin(annotation)
    if origin in _UNIONS:
        inner = [element_of(a, key) for a in args if a is not type(None)]
        return inner[0] if len(inner) == 1 else Any
    if not args:
        return Any
    if origin is tuple and len(args) > 1 and isinstance(key, int) and key < len(args):
        return args[key]
    return args[-1]


def name_of(annotation: Any) -> str:
    """How the annotation is written, without module paths of classes."""
    if get_origin(annotation) is None and isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _plain(annotation: Any) -> Any:
    return type(None) if annotation is None else annotation

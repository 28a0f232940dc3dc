"""The codec of the state store: small typed values to JSON and back, guided by annotations.

Tasks exchange frozen dataclasses, enums, numbers, strings, times, and lists, tuples and
dictionaries of these; never data and never pickles. A stored value can be read with ``jq``,
and reading it runs no code: the annotation of the reader decides what is built.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flows.core.errors import NotStorable
from flows.core.masking import mask

Json = Any
_PLAIN = frozenset({str, int, bool, type(None)})
MAX_BYTES = 1_000_000
"""A stored value over this size is data, and belongs in the artifact store."""


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_DECODER = json.JSONDecoder()
_SURROGATE = re.compile("[\ud800-\udfff]")
_URL = 1000
"""Characters looked at beyond what is kept: a password is masked whole, also where it is cut."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def dumps(value: object) -> str:
    """Encode `value` as compact JSON text with stable key order for dataclasses.

    It can be encoded: half a character, as a file name that is not UTF-8 has it, is escaped,
    and `loads` gives it back.
    """
    text = _ENCODER.encode(to_json(value))
    if not text.isascii():
        text = _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    if len(text) > MAX_BYTES:
        raise NotStorable(
            f"a value of {len(text):,} characters is too large for the state store",
            hint="write it to the artifact store and return its address",
        )
    return text


def storable(text: object, longest: int = 10_000) -> str:
    """Text as every database keeps it: at most so long; NUL and halves of characters escaped."""
    kept = text if isinstance(text, str) else _text_of(text)
    kept = _UNSTORABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), kept[:longest])
    return kept[:longest]


def message(text: object, longest: int = 10_000) -> str:
    """The same of what somebody says, without the credentials in its URLs."""
    said = text if isinstance(text, str) else _text_of(text)
    return storable(mask(said[: longest + _URL]), longest)


def fitted(name: str, longest: int) -> str:
    """A name or key as a column of this width keeps it; a longer one ends in its digest."""
    if len(kept := storable(name, longest + 1)) <= longest:
        return kept
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{kept[: longest - 33]}-{digest}"


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # its own __str__ is wrong
        return f"<{type(value).__name__} whose text cannot be read: {type(error).__name__}>"


def loads(text: str, annotation: object = Any) -> Any:
    """Decode JSON text into what `annotation` says. Raises NotStorable when it does not fit."""
    try:
        data = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise NotStorable(f"it is no JSON text: {error}") from error
    return data if annotation is Any else from_json(data, annotation)


def to_json(value: object) -> Json:
    """Turn a value into JSON data. Raises NotStorable, naming the type, for anything else."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return _mapping_to_json(value)
    if kind is float:
        return _finite(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return _other_to_json(value)


def _finite(value: Any) -> float:
    if not math.isfinite(value):
        raise NotStorable(f"{value} is not a storable number", hint="use None for 'undefined'")
    return float(value)


def _other_to_json(value: Any) -> Json:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise NotStorable(f"the time {value} has no time zone", hint="use aware UTC times")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return _mapping_to_json(value)
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, str | bool | int):  # subclasses
        return value
    if isinstance(value, float):  # numpy.float64 is one
        return _finite(value)
    raise NotStorable(
        f"a {type(value).__module__}.{type(value).__qualname__} is not a small typed value",
        hint="return a frozen dataclass, or write the data away and return a reference to it",
    )


def _mapping_to_json(value: Any) -> Json:
    return {
        key if type(key) is str else _key(key): item if type(item) in _PLAIN else to_json(item)
        for key, item in value.items()
    }


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise NotStorable(f"the dictionary key {key!r} is not a string")
    return key.value if isinstance(key, Enum) else key


def from_json(data: Json, annotation: object = Any) -> Any:
    """Build what `annotation` says from JSON data. Raises NotStorable when it does not fit."""
    return decoder(annotation)(data)


Decoder = Callable[[Json], Any]


def decoder(annotation: object) -> Decoder:
    """The function that decodes JSON data into `annotation`; built once per type."""
    try:
        return _decoder(annotation)
    except TypeError:  # unhashable annotation, such as Literal[[...]]
        return _build_decoder(annotation)


@lru_cache(maxsize=4096)
def _decoder(annotation: object) -> Decoder:
    return _build_decoder(annotation)


def _build_decoder(annotation: object) -> Decoder:
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return lambda data: data
    if annotation is None or annotation is type(None):
        return _exactly(type(None))
    origin = get_origin(annotation)
    if origin is not None:
        return _generic_decoder(annotation, origin)
    if isinstance(annotation, type):
        return _class_decoder(annotation)
    raise NotStorable(f"{annotation!r} is not a type that the state store can keep")


def _class_decoder(cls: type) -> Decoder:
    if cls is float:
        return lambda data: float(_check(data, (int, float), "float"))
    if cls in _PLAIN:
        return _exactly(cls)
    if issubclass(cls, Enum):
        return cls
    if issubclass(cls, datetime):
        return lambda data: datetime.fromisoformat(_check(data, (str,), "datetime"))
    if issubclass(cls, date):
        return lambda data: date.fromisoformat(_check(data, (str,), "date"))
    if issubclass(cls, timedelta):
        return lambda data: timedelta(seconds=_check(data, (int, float), "timedelta"))
    if dataclasses.is_dataclass(cls):
        return _dataclass_decoder(cls)
    if issubclass(cls, list | tuple | dict):
        return cls
    raise NotStorable(
        f"{cls.__module__}.{cls.__qualname__} is not a type that the state store can keep",
        hint="use a frozen dataclass, or a reference to the data",
    )


def _exactly(cls: type) -> Decoder:
    return lambda data: _check(data, (cls,), cls.__name__)


def _check(data: Json, classes: tuple[type, ...], name: str) -> Any:
    if not isinstance(data, classes) or (isinstance(data, bool) and bool not in classes):
        raise NotStorable(f"expected {name}, found {type(data).__name__}: {str(data)[:80]!r}")
    return data


def _dataclass_decoder(cls: Any) -> Decoder:
    # Hints are resolved on first use, so that a class may refer to itself.
    fields: dict[str, Decoder] = {}

    def decode(data: Json) -> Any:
        if not fields:
            hints = get_type_hints(cls)
            fields.update({f.name: decoder(hints[f.name]) for f in dataclasses.fields(cls)})
        _check(data, (dict,), cls.__name__)
        if data.keys() - fields.keys():
            data = _without_dropped(cls, data, fields)
        try:
            return cls(**{name: fields[name](value) for name, value in data.items()})
        except TypeError as error:
            raise NotStorable(f"{cls.__name__} cannot be read back: {error}") from error

    return decode


def _without_dropped(cls: Any, data: Mapping[str, Json], fields: Collection[str]) -> Any:
    """The data without the keys that an earlier release stored, and `DROPPED` of the class names.

    Any other key was written by a newer release, and may change what the others mean.
    """
    unknown = data.keys() - set(fields) - set(getattr(cls, "DROPPED", ()))
    if unknown:
        raise NotStorable(
            f"{cls.__name__} has no field {sorted(unknown)[0]!r}: a newer Ratchet wrote it",
            hint="upgrade ratchet-ml on this machine, or leave it to a worker that knows it",
        )
    return {name: value for name, value in data.items() if name in fields}


def _generic_decoder(annotation: Any, origin: Any) -> Decoder:
    args = get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union_decoder(args)
    if origin is Literal:
        return lambda data: _one_of(data, args)
    if origin is tuple:
        return _tuple_decoder(args)
    if origin in (list, Sequence):
        item = decoder(args[0])
        return lambda data: [item(d) for d in _check(data, (list,), "list")]
    if origin in (dict, Mapping):
        value = decoder(args[1])
        return lambda data: {k: value(v) for k, v in _check(data, (dict,), "dict").items()}
    raise NotStorable(f"{annotation!r} is not a type that the state store can keep")


def _one_of(data: Json, allowed: tuple[Any, ...]) -> Json:
    if data not in allowed:
        raise NotStorable(f"{data!r} is not one of {', '.join(map(repr, allowed))}")
    return data


def _tuple_decoder(args: tuple[Any, ...]) -> Decoder:
    if len(args) == 2 and args[1] is Ellipsis:
        item = decoder(args[0])
        return lambda data: tuple(item(d) for d in _check(data, (list,), "tuple"))
    items = [decoder(a) for a in args]
    return lambda data: tuple(
        d(v) for d, v in zip(items, _check(data, (list,), "tuple"), strict=True)
    )


def _union_decoder(args: tuple[Any, ...]) -> Decoder:
    optional = type(None) in args
    options = [decoder(a) for a in args if a is not type(None)]

    def decode(data: Json) -> Any:
        if data is None and optional:
            return None
        problems = []
        for option in options:
            try:
                return option(data)
            except (NotStorable, ValueError, TypeError) as error:
                problems.append(str(error))
        if optional:
            problems.append("or null")
        raise NotStorable("; ".join(dict.fromkeys(problems)))

    return decode

"""Plain data to typed dataclasses and back, and the checks between.

Validation is strict: a quoted "true" is text, 3.0 is no whole number. Only what YAML cannot
write is converted: lists to tuples, text to durations, times and enums.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from flows.config import schema
from flows.config.duration import format_duration, parse_duration
from flows.core.errors import ConfigError
from flows.core.masking import mask
from flows.settings import Settings
from ray_jobs import UnknownName, require_allowed

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import ErrorDetails

T = TypeVar("T")
FIRST_LINE = "# @package _global_"
"""Of a file in conf/flow; without it, Hydra puts what the file sets below the key `flow`."""

Origin = Callable[[schema.KeyPath], str | None]
"""Says where the value of a key came from: a file with its line, or an override."""


def nowhere(path: schema.KeyPath) -> str | None:
    """The origin of a value that nobody knows the origin of."""
    return None


def check_keys(root: schema.Group, data: Any, origin: Origin) -> None:
    """Refuse keys that the schema does not have and mandatory ones that are missing."""
    if path := schema.first_unknown(root, data):
        raise unknown_key(root, path, origin(path))
    for path, value in schema.nodes(data):
        if path and isinstance(path[-1], bool):
            raise ConfigError(
                f"A name below {schema.dotted(path[:-1])} is read as {json.dumps(path[-1])}"
                f"{_place(origin(path[:-1]))}.",
                hint='put it in quotes, as "no": without, YAML reads no, off, on and yes as that',
            )
        if value == "???":
            raise _missing(root, path, origin)


def _missing(root: Any, path: schema.KeyPath, origin: Origin) -> ConfigError:
    ours = path == ("home",)  # every installation has it, from Ratchet's own file
    hint = "begin conf/config.yaml with: defaults: [ratchet, _self_]" if ours else None
    return ConfigError(
        f"{schema.dotted(path)} is missing{_place(origin(path))}: "
        f"it must be {schema.describe(schema.at(root, path))}.",
        hint=hint or f"set it in a config file, or as {schema.dotted(path)}=...",
    )


def unknown_key(root: schema.Group, path: schema.KeyPath, origin: str | None) -> ConfigError:
    """The error for a key that does not exist, with the key that was probably meant."""
    if path == ("flow",) and origin is None:
        return ConfigError(
            f"What a file in conf/flow sets is not found: its first line is not {FIRST_LINE}.",
            hint=f"begin the flow's file in conf/flow with the line {FIRST_LINE}",
        )
    meant = schema.nearest(root, path)
    advice = f"did you mean {meant}?" if meant else _valid_keys(root, path)
    return ConfigError(
        f"There is no setting {schema.dotted(path)}{_place(origin)}: {advice}",
        hint=f"use {meant}" if meant else None,
    )


def _valid_keys(root: schema.Group, path: schema.KeyPath) -> str:
    for depth in range(len(path) - 1, -1, -1):
        if valid := schema.names(schema.at(root, path[:depth])):
            where = schema.dotted(path[:depth])
            return f"{where or 'the config'} has {', '.join(sorted(valid))}."
    return "the config has no such key."


def _place(origin: str | None) -> str:
    return f" ({origin})" if origin else ""


def build(kind: type[T], data: Mapping[str, Any], origin: Origin) -> T:
    """`data` as the dataclass `kind`. Raises ConfigError for the first value that does not fit."""
    from pydantic import ValidationError

    _refuse_infinite(data, origin)
    hashable: Any = kind  # so that mypy takes a type variable for a cache's key
    ready = _with_durations(kind, data)
    try:
        built: T = _adapter(hashable).validate_json(json.dumps(ready), strict=True)
    except ValidationError as error:
        raise _wrong_value(kind, data, error, origin) from None
    except (TypeError, ConfigError):
        raise
    except Exception as error:  # a dataclass's own check, with its package's own error
        raise ConfigError(str(error), hint=getattr(error, "hint", None)) from error
    return built


def _refuse_infinite(data: Any, origin: Origin) -> None:
    """No bound is NaN: every comparison with it would be false, and it is no JSON."""
    for path, value in schema.nodes(data):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(
                f"{schema.dotted(path)} must be a finite number, not {value}"
                f"{_place(origin(path))}.",
                hint="write null for no bound, where the key allows it",
            )


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _with_durations(annotation: Any, data: Any) -> Any:
    if isinstance(data, Mapping):
        return {k: _with_durations(schema.child(annotation, k), v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_with_durations(schema.child(annotation, i), v) for i, v in enumerate(data)]
    if timedelta in schema.branches(annotation):
        return _iso_duration(data)
    return data


def _iso_duration(value: Any) -> Any:
    """ISO 8601, which pydantic reads; a bare number has no unit, and is made unreadable."""
    if isinstance(value, str) and (duration := parse_duration(value)) is not None:
        sign = "-" if duration < timedelta(0) else ""
        duration = abs(duration)
        return f"{sign}P{duration.days}DT{duration.seconds}.{duration.microseconds:06d}S"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "P0D" if value == 0 else f"{value} without a unit"
    return value


def _wrong_value(
    kind: type[Any], data: Mapping[str, Any], error: ValidationError, origin: Origin
) -> ConfigError:
    errors = [(_path_in(data, e), e) for e in error.errors(include_url=False)]
    # An override that others interpolate is wrong where it was given, not where it was copied.
    path, _ = min(errors, key=lambda e: not (origin(e[0]) or "").startswith("override"))
    # Of the alternatives of a union, the one that the value got furthest into was meant.
    path, first = max((e for e in errors if e[0][: len(path)] == path), key=lambda e: len(e[0]))
    if first["type"] == "missing":
        return _missing(kind, path, origin)
    key = schema.dotted(path) or kind.__name__
    value, annotation = _value_at(data, path), schema.at(kind, path)
    place = _place(origin(path))
    reason = first.get("ctx", {}).get("error")
    if isinstance(reason, Exception):  # raised by the dataclass's own check
        return ConfigError(f"{key}{place}: {reason}", hint=getattr(reason, "hint", None))
    if first["type"] in _BOUNDS:
        said = first["msg"].removeprefix("Input should be ")
        return ConfigError(f"{key} must be {said}, not {_shown(value)}{place}.")
    expected = schema.describe(annotation)
    hint = _as_yaml_reads(value, schema.branches(annotation))
    return ConfigError(f"{key} must be {expected}, not {_shown(value)}{place}.", hint=hint)


def _as_yaml_reads(value: Any, wanted: Sequence[Any]) -> str | None:
    """What to write, where YAML has read something else than was meant."""
    if str in wanted and isinstance(value, bool | int | float):
        return (
            'put it in quotes, as "18:30": without, YAML reads 18:30 and 00123 as numbers, '
            "and no, on and yes as true or false"
        )
    if isinstance(value, str) and {int, float, bool} & set(wanted) and _is_plain(value):
        return "write it without quotes; of the environment: ${oc.decode:${oc.env:NAME}}"
    return None


def _is_plain(text: str) -> bool:
    try:
        return not isinstance(json.loads(text.lower()), str | list | dict)
    except ValueError:
        return False


_BOUNDS = frozenset(
    {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"}
    | {"too_short", "too_long", "string_too_short", "string_too_long"}
)


def _path_in(data: Any, error: ErrorDetails) -> schema.KeyPath:
    """The part of pydantic's location that is in the data (it adds names of union members)."""
    path: list[str | int] = []
    for key in error["loc"]:
        inside = isinstance(data, Mapping) and key in data
        inside = inside or (isinstance(data, list) and isinstance(key, int) and key < len(data))
        if inside:
            path.append(key)
            data = data[key]
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)


def _value_at(data: Any, path: schema.KeyPath) -> Any:
    for key in path:
        data = data[key]
    return data


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{mask(value)}"'
    if isinstance(value, Mapping):
        return "a group of keys"
    if isinstance(value, list | tuple):
        return "a list"
    return json.dumps(value)


def check_allowed(
    code: Mapping[schema.KeyPath, str], allowed: Sequence[str], origin: Origin
) -> None:
    """Refuse a dotted path outside the allowed modules; nothing is imported for it."""
    for path, text in code.items():
        try:
            require_allowed(text, allowed)
        except UnknownName as error:
            raise ConfigError(
                f"{schema.dotted(path)} names {text}, which is not in an allowed module"
                f"{_place(origin(path))}.",
                hint=error.hint,
            ) from None


def check_made_up(root: schema.Group, raw: Any, origin: Origin) -> None:
    """Refuse code that is made of what an override from outside may set: `${name}`.

    `raw` is a config with its interpolations as they are written.
    """
    for path, text in schema.texts(raw):
        inside = _INNERMOST.findall(text)
        becomes_code = schema.names_code(root, path) or schema.holds_code(schema.at(root, path))
        if not inside or not becomes_code:
            continue
        if "${" in _INNERMOST.sub("", text) or not all(_fixed(root, i, path) for i in inside):
            raise ConfigError(
                f"{schema.dotted(path)} names code, and may not be made of other keys"
                f"{_place(origin(path))}.",
                hint="write it out, or have that key's dataclass mark it as naming code: "
                'field(metadata={"names": "code"})',
            )


_INNERMOST = re.compile(r"\$\{([^{}]*)\}")  # an interpolation that holds no other


def _fixed(root: schema.Group, interpolation: str, path: schema.KeyPath) -> bool:
    """Whether the installation's own files and environment alone say what it stands for."""
    if ":" in interpolation:
        return interpolation.partition(":")[0].strip() in ("oc.env", "secret")
    name = interpolation.lstrip(".")
    levels = len(interpolation) - len(name)
    source = (*(path[:-levels] if levels else ()), *schema.parse(name))
    if schema.names_code(root, source) or source[0] in schema.keys_of(Settings):
        return True
    kind = schema.at(root, source)
    return kind is not None and kind is not Any and kind == schema.at(root, path)


def plain(value: Any, annotation: Any = Any) -> Any:
    """A config dataclass as data that YAML and JSON can hold; `build` reads it back.

    The same value is always written in the same way: 1 in a field of floats is 1.0.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kinds = schema.keys_of(type(value))
        return {name: plain(getattr(value, name), kind) for name, kind in kinds.items()}
    if isinstance(value, Mapping):
        return {str(k): plain(v, schema.child(annotation, k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, schema.child(annotation, i)) for i, v in enumerate(value)]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, date):
        return value.isoformat()
    if type(value) is int and float in (branches := schema.branches(annotation)):
        return value if int in branches else float(value)
    return value

"""The values that a column may hold, as the column's own type has them."""

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
from pyarrow import types

from feature_store.errors import InvalidConfig

Choice = str | int | bool

_QUOTES = (
    "put it in quotes: YAML reads NO and off as false, 00123 as an octal number and 18:30 as 1110"
)


def as_column(column: str, choices: Sequence[Choice], kind: Any) -> pa.Array:
    """The choices as values of the column; `InvalidConfig` names the first that is none."""
    read, hint = _reader(kind)
    values = []
    for choice in choices:
        try:
            values.append(read(choice))
        except (ValueError, InvalidOperation, pa.ArrowInvalid) as error:
            raise InvalidConfig(
                f"checks.allowed.{column}: the column is {kind}, and {choice!r} is none",
                hint=hint,
            ) from error
    try:
        return pa.array(values, kind)
    except pa.ArrowInvalid as error:
        raise InvalidConfig(
            f"checks.allowed.{column}: the column is {kind}; {error}", hint=hint
        ) from error


def _reader(kind: Any) -> tuple[Callable[[Choice], Any], str]:
    numbers = "list numbers for a number column"
    if types.is_string(kind):
        return _text, _QUOTES
    if types.is_boolean(kind):
        return _truth, "list true and false for a column of them"
    if types.is_integer(kind):
        return lambda choice: int(_number(choice)), numbers
    if types.is_floating(kind):
        return lambda choice: float(_number(choice)), numbers
    if types.is_decimal(kind):
        return lambda choice: Decimal(_number(choice)), numbers
    return (
        lambda choice: pa.scalar(_text(choice)).cast(kind).as_py(),
        "write such a value as text, in quotes",
    )


def _text(choice: Choice) -> str:
    if not isinstance(choice, str):
        raise ValueError(choice)
    return choice


def _number(choice: Choice) -> str | int:
    if isinstance(choice, bool):
        raise ValueError(choice)
    return choice


def _truth(choice: Choice) -> bool:
    found = {"true": True, "false": False}.get(str(choice).lower())
    if found is None:
        raise ValueError(choice)
    return found

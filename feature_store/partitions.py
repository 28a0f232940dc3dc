"""Values of Hive-style partition columns, as text in a table's log and as typed values."""

import re
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPES = re.compile(rb"(\\u[0-9a-fA-F]{4})+")


def partition_text(value: Any) -> str | None:
    """Write a value as Delta does: bytes as escapes, truth in lower case."""
    if isinstance(value, bytes):
        if _ESCAPES.fullmatch(value):  # the library hands out what stands in the log
            return value.decode()
        return "".join(f"\\u{byte:04x}" for byte in value)
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def partition_value(text: str | None, kind: pa.DataType) -> pa.Scalar:
    """Read a value back as its column's type; a time without zone is taken as UTC."""
    if text is None or (text == "" and not pa.types.is_string(kind)):
        return pa.scalar(None, kind)
    if pa.types.is_timestamp(kind):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            at = at.astimezone(UTC).replace(tzinfo=None)
        return pa.scalar(at, pa.timestamp("us")).cast(pa.timestamp("us", kind.tz)).cast(kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.scalar(_bytes(text), kind)
    return pa.scalar(text).cast(kind)


def _bytes(text: str) -> bytes:
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    try:
        return plain.encode("latin-1")
    except UnicodeEncodeError:
        return plain.encode()

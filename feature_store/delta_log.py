"""One entry of a Delta log, as its writer left it, read as a commit."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from feature_store.tables import Commit, DataFile

KEY = "ratchet.key"
"""Where an append of ours notes its key."""

_NO_PREDICATE = (None, "", "[]")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:")
# Metrics of rows that a rewrite brought, as Spark and delta-rs name them, without underscores.
_BROUGHT = ("numtargetrowsinserted", "numtargetrowsupdated", "numupdatedrows")
_TAKEN = ("numtargetrowsdeleted", "numdeletedrows")


def commit_of(version: int, text: str, place: Callable[[str], str]) -> Commit:
    """Read a log entry; `place` tells where a file can be read by its path in the log."""
    info: dict[str, Any] = {}
    adds: list[dict[str, Any]] = []
    removes: list[dict[str, Any]] = []
    for line in text.splitlines():
        action = json.loads(line) if line.strip() else {}
        info = action.get("commitInfo", info)
        adds += [action["add"]] if "add" in action else []
        removes += [action["remove"]] if "remove" in action else []
    moved = any(not action.get("dataChange", True) for action in (*adds, *removes))
    parameters = info.get("operationParameters") or {}
    return Commit(
        version=version,
        at=datetime.fromtimestamp(_milliseconds(info, adds) / 1000, tz=UTC),
        operation="compact" if moved else _operation(info.get("operation", ""), parameters),
        key=info.get(KEY),
        added=tuple(_added(version, action, place) for action in adds),
        removed=tuple(action["path"] for action in removes),
        changed=_changed(info.get("operationMetrics") or {}),
    )


def table_id(text: str) -> str | None:
    """The id that a log entry gives its table; None when it says nothing of it."""
    for line in text.splitlines():
        action = json.loads(line) if line.strip() else {}
        if "metaData" in action:
            return str(action["metaData"]["id"])
    return None


def utc(value: datetime) -> datetime:
    """A time in UTC; one without zone is taken as UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _added(version: int, action: Mapping[str, Any], place: Callable[[str], str]) -> DataFile:
    stats = json.loads(action.get("stats") or "{}")
    vector, rows = action.get("deletionVector"), stats.get("numRecords")
    if vector and rows is not None:
        rows -= vector["cardinality"]
    return DataFile(
        path=action["path"],
        uri=place(action["path"]),
        version=version,
        rows=rows,
        newest=_times_in(stats.get("maxValues") or {}),
        oldest=_times_in(stats.get("minValues") or {}),
        partition=action.get("partitionValues") or {},
        written=int(action.get("modificationTime", 0)),
        vector_at=version,
        vector=vector and f"{vector.get('pathOrInlineDv')}@{vector.get('offset')}",
    )


def _operation(name: str, parameters: Mapping[str, Any]) -> str:
    mode = str(parameters.get("mode", "")).lower()
    if name == "WRITE" and mode == "append":
        return "append"
    if name == "WRITE" and mode == "overwrite" and parameters.get("predicate") in _NO_PREDICATE:
        return "overwrite"
    if "REPLACE TABLE" in name:
        return "overwrite"
    return {"CREATE TABLE": "create", "RESTORE": "restore"}.get(name, name)


def _milliseconds(info: Mapping[str, Any], adds: list[dict[str, Any]]) -> int:
    if "timestamp" in info:
        return int(info["timestamp"])
    return int(max((action.get("modificationTime", 0) for action in adds), default=0))


def _changed(metrics: Mapping[str, Any]) -> int | None:
    """Rows that a rewrite inserted or changed: `numTargetRowsInserted`, `num_updated_rows` ..."""
    plain = {name.lower().replace("_", ""): value for name, value in metrics.items()}
    counts = [plain.get(name) for name in _BROUGHT]
    known = [int(count) for count in counts if count is not None]
    if not known and any(name in plain for name in _TAKEN):
        return 0
    return sum(known) if known else None


def _times_in(stats: Mapping[str, Any]) -> dict[str, datetime]:
    """Those of a commit's statistics that are times."""
    found = {}
    for column, value in stats.items():
        if isinstance(value, str) and _TIME.match(value):
            with suppress(ValueError):
                found[column] = utc(datetime.fromisoformat(value))
    return found

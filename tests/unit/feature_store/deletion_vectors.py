"""Deletion vectors as Databricks writes them, by hand: the library reads them and writes none."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_PROTOCOL = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": ["deletionVectors"],
    "writerFeatures": ["deletionVectors"],
}


def delete_rows(uri: str, path: str, numbers: Sequence[int], *, add: Sequence[Any] = ()) -> int:
    """Commit the deletion of rows of a file, by number, as Spark's DELETE does; the version made.

    With `add` (further actions), it is an UPDATE or MERGE.
    """
    added = next(a for a in reversed(_actions(uri)) if a.get("add", {}).get("path") == path)["add"]
    vector = {
        "storageType": "i",
        "pathOrInlineDv": _inline(numbers),
        "sizeInBytes": len(_bitmaps(numbers)),
        "cardinality": len(numbers),
    }
    removed = {"path": path, "dataChange": True, "deletionTimestamp": 1}
    if "deletionVector" in added:
        removed["deletionVector"] = added["deletionVector"]
    info = {"timestamp": 1_800_000_000_000, "operation": "UPDATE" if add else "DELETE"}
    actions = [
        {"commitInfo": info | {"operationParameters": {}}},
        {"protocol": _PROTOCOL},
        {"remove": removed},
        {"add": added | {"deletionVector": vector}},
        *add,
    ]
    return commit(uri, actions)


def purge(uri: str, path: str, rewritten: dict[str, Any]) -> int:
    """Commit what REORG TABLE ... APPLY (PURGE) leaves: the file rewritten, without a vector."""
    added = next(a for a in reversed(_actions(uri)) if a.get("add", {}).get("path") == path)["add"]
    removed = {"path": path, "dataChange": False, "deletionVector": added["deletionVector"]}
    info = {"timestamp": 1_800_000_001_000, "operation": "REORG", "operationParameters": {}}
    return commit(uri, [{"commitInfo": info}, {"remove": removed}, {"add": rewritten}])


def commit(uri: str, actions: Sequence[Any]) -> int:
    """Write the next entry of the log."""
    log = Path(uri, "_delta_log")
    version = max(int(entry.stem) for entry in log.glob("*.json")) + 1
    (log / f"{version:020}.json").write_text("\n".join(json.dumps(action) for action in actions))
    return version


def _actions(uri: str) -> list[dict[str, Any]]:
    entries = sorted(Path(uri, "_delta_log").glob("*.json"))
    return [json.loads(line) for entry in entries for line in entry.read_text().splitlines()]


def _bitmaps(numbers: Sequence[int]) -> bytes:
    """One 64-bit roaring bitmap array with one bitmap of one array container."""
    container = b"".join(struct.pack("<H", number) for number in sorted(numbers))
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(numbers) - 1, 16) + container
    return struct.pack("<IQI", 1681511377, 1, 0) + bitmap


def _inline(numbers: Sequence[int]) -> str:
    data = _bitmaps(numbers)
    data += bytes(-len(data) % 4)
    text = ""
    for (word,) in struct.iter_unpack(">I", data):
        digits = [word // 85**power % 85 for power in (4, 3, 2, 1, 0)]
        text += "".join(_DIGITS[digit] for digit in digits)
    return text

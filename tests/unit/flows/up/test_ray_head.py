"""Where the Ray tasks of a home go, while its head lives, is started again, or is no more."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from flows.up.child import KEEPER
from flows.up.private_file import write_json
from flows.up.process import Process
from flows.up.ray_head import kept_head

ADDRESS = "http://127.0.0.1:8265"
MYSELF = Process.of(os.getpid())
assert MYSELF is not None
ALIVE, DEAD = asdict(MYSELF), {"pid": MYSELF.pid, "started": 1}


def record(home: Path, head: dict[str, int] | None, keeper: dict[str, int] | None) -> None:
    kept = {f"{KEEPER}{name}": value for name, value in (keeper or {}).items()}
    write_json(home / "up" / "ray.json", {"address": ADDRESS, **(head or {}), **kept})


def test_a_head_that_lives_is_used_whether_or_not_somebody_watches_it(tmp_path: Path) -> None:
    record(tmp_path, ALIVE, DEAD)
    assert kept_head(tmp_path) == ADDRESS


def test_a_head_that_is_started_again_is_waited_for(tmp_path: Path) -> None:
    record(tmp_path, DEAD, ALIVE)
    assert kept_head(tmp_path) == ADDRESS
    record(tmp_path, None, ALIVE)  # between its command and its process
    assert kept_head(tmp_path) == ADDRESS


def test_a_head_that_nobody_will_start_again_is_not_waited_for(tmp_path: Path) -> None:
    assert kept_head(tmp_path) is None
    record(tmp_path, DEAD, DEAD)
    assert kept_head(tmp_path) is None
    record(tmp_path, DEAD, None)
    assert kept_head(tmp_path) is None

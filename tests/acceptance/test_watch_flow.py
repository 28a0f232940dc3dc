"""A champion that turns out harmful is rolled back by the next night's run, once, also when the
process that did it is killed right after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PROJECT = Path(__file__).parents[2]


def test_the_next_night_rolls_a_harmful_champion_back_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.harmed", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    nights = json.loads((tmp_path / "nights.json").read_text())
    assert nights["killed"]
    attempt, value = nights["settle"]
    assert attempt == 2
    assert "Version 1 is live again." in value
    assert [entry[:2] for entry in nights["entries"]][:3] == [
        ["promote", "1"],
        ["promote", "2"],
        ["rollback", "1"],
    ]
    assert nights["entries"][2][2] == nights["run"]
    assert nights["whole"]
    # The challenger of the same night was held against the champion that is live again.
    assert nights["judged against"] == ["1", 3]
    assert nights["harm told"] == [nights["run"]]

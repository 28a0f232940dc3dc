"""Which homes the demo may use: an unused one, and its own."""

from __future__ import annotations

import pytest

from flows.bootstrap import open_project
from flows.core.errors import Refused
from flows.core.flow import flow, task
from flows.demo import MARKER, _fresh


@task
def one() -> int:
    return 1


@flow
def small() -> None:
    one()


LOOKS = [
    ["check"], ["doctor"], ["runs"], ["show", "last"], ["schedules"], ["alerts"], ["audit"],
    ["champion", "digits"], ["ledger", "digits", "--verify"], ["verdict"], ["evidence", "digits"],
    ["features"], ["store"], ["kpis"],
]  # fmt: skip


def test_a_home_in_which_somebody_only_looked_around_is_used(tmp_path, ratchet):
    for command in LOOKS:
        ratchet(*command)
    home = tmp_path / "home"
    assert len(list(home.iterdir())) > 1
    _fresh(home)
    assert (home / MARKER).exists()


def test_a_home_with_a_run_is_refused_and_left_alone(tmp_path):
    ratchet = open_project(tmp_path)
    ratchet.start(small, trigger={"kind": "test"})
    ratchet.close()
    with pytest.raises(Refused, match="holds runs of a real project"):
        _fresh(tmp_path / ".ratchet")
    assert not (tmp_path / ".ratchet" / MARKER).exists()


def test_an_earlier_demos_home_is_kept_once_beside_the_new_one(tmp_path):
    home = tmp_path / "home"
    for _ in range(3):
        _fresh(home)
        (home / "work").write_text("from the demo before")
    assert not (home / "DEMO").samefile(tmp_path / "home.previous" / "DEMO")
    assert (tmp_path / "home.previous" / "work").exists()

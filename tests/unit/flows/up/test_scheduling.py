"""The scheduler of `ratchet up` follows the config files, and trusts none that is half-written."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from flows.core.errors import ConfigError
from flows.core.schedule_service import Synced
from flows.declarations import Declared
from flows.up.scheduling import AGAIN, SETTLED, Scheduling


@dataclass
class Project:
    """What scheduling needs of a project."""

    stamp: Any = 0
    broken: tuple[str, ...] = ()
    problem: Exception | None = None
    rereads: list[int] = field(default_factory=list)
    synced: list[bool] = field(default_factory=list)  # whether each was `fresh`
    refused: dict[str, ConfigError] = field(default_factory=dict)

    def config_stamp(self) -> Any:
        if isinstance(self.stamp, OSError):
            raise self.stamp
        return self.stamp

    def reread(self) -> Project:
        self.rereads.append(1)
        if self.problem is not None:
            raise self.problem
        return self

    def declared(self) -> Declared:
        return Declared()

    @property
    def schedules(self) -> Any:
        def sync(*_: Any, fresh: bool, **__: Any) -> Synced:
            self.synced.append(fresh)
            return Synced(refused=self.refused)

        return SimpleNamespace(sync=sync)


@pytest.fixture
def project() -> Project:
    return Project()


def scheduling(project: Any, lines: list[str] | None = None) -> Scheduling:
    said = [] if lines is None else lines
    return Scheduling(project, lambda: None, said.append)


def look(mine: Scheduling, times: int) -> None:
    for _ in range(times):
        mine._follow()


def test_a_change_is_saved_at_once_and_what_is_gone_once_all_is_written(project: Project) -> None:
    mine = scheduling(project)
    look(mine, 1)
    assert project.synced == [True]
    look(mine, SETTLED - 1)
    assert project.synced == [True]
    project.stamp = 1
    look(mine, 1)
    assert project.synced == [True, True]
    look(mine, 3 * SETTLED)
    assert project.synced == [True, True, False]


def test_files_that_cannot_be_read_just_now_are_read_at_the_next_look(project: Project) -> None:
    lines: list[str] = []
    mine = scheduling(project, lines)
    project.problem = OSError(24, "Too many open files")
    look(mine, 3)
    assert (project.synced, len(lines)) == ([], 1)
    project.stamp = FileNotFoundError(2, "No such file")
    look(mine, 3)
    project.stamp, project.problem = 0, None
    look(mine, 1)
    assert project.synced == [True]


def test_a_config_that_is_wrong_waits_for_its_next_change(project: Project) -> None:
    mine = scheduling(project)
    project.problem = ConfigError("there is no option x")
    look(mine, 3)
    assert (project.synced, len(project.rereads)) == ([], 1)


def test_a_module_that_could_not_be_imported_is_tried_again(project: Project) -> None:
    project.broken = ("team.flows",)
    mine = scheduling(project)
    look(mine, 1 + 2 * AGAIN)
    assert len(project.rereads) == 3


def test_what_is_refused_is_said_once(project: Project) -> None:
    lines: list[str] = []
    project.refused = {"nightly": ConfigError("no such flow")}
    mine = scheduling(project, lines)
    for stamp in range(5):
        project.stamp = stamp
        look(mine, SETTLED + 1)
    assert lines == ["schedule nightly is not used: no such flow"]

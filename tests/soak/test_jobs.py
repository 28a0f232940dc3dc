"""The judge of the Ray jobs says what is wrong: it is shown what must not be."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.core.records import Attempt, AttemptStatus
from ray_jobs import ArtifactStore, JobState
from ray_jobs.markers import Done, JobMarkers
from tests.simulation.findings import Findings
from tests.soak.fleet import JobLine
from tests.soak.head import Struck
from tests.soak.jobs import check_jobs


def attempt(number: int, status: AttemptStatus) -> Attempt:
    return Attempt(
        id=f"r1.lift.{number}",
        run_id="r1",
        key="lift",
        number=number,
        status=status,
        executor="ray",
        worker="w",
        started_at=datetime.fromtimestamp(0, UTC),
        ended_at=datetime.fromtimestamp(9, UTC),
    )


def line(what: str, number: int, submission: str | None = None) -> JobLine:
    name = f"r1.lift.{number}"
    return JobLine(what=what, at=1.0, attempt=name, submission=submission or name)


LOST, GOOD = attempt(1, AttemptStatus.LOST), attempt(2, AttemptStatus.SUCCEEDED)
WELL = [line("begin", 1), line("begin", 2), line("end", 2)]


def judged(folder: Path, lines: list[JobLine], *struck: Struck) -> Findings:
    found = Findings()
    record: Any = SimpleNamespace(details=[SimpleNamespace(attempts=[LOST, GOOD])], events=[])
    check_jobs(found, record, str(folder), lines, struck)
    return found


def test_a_lost_job_and_its_repetition_are_well_and_counted(tmp_path: Path) -> None:
    found = judged(tmp_path, WELL, Struck(submission="r1.lift.1", at=8.0))
    assert found.problems == []
    assert found.counts["drivers killed at work, lost"] == 1
    assert found.counts["ms until a killed driver was noticed, at most"] == 1000


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([*WELL, line("begin", 1)], "r1.lift.1 was 2 jobs"),
        ([*WELL, line("beside", 2)], "r1.lift.2 worked beside another of its task"),
        ([*WELL, line("begin", 3)], "r1.lift.3 is a job, and no attempt"),
        ([*WELL[1:], line("begin", 1, "other")], "r1.lift.1 ran as other"),
        (WELL[:2], "r1.lift.2 succeeded, and its job has not ended once"),
    ],
)
def test_what_must_not_be_is_found(tmp_path: Path, lines: list[JobLine], problem: str) -> None:
    assert judged(tmp_path, lines).problems == [problem]


def test_a_result_that_was_thrown_away_is_found(tmp_path: Path) -> None:
    done = Done(id="r1.lift.1", state=JobState.SUCCEEDED, at="", host="h", result="{}")
    JobMarkers(ArtifactStore(str(tmp_path)), "r1.lift.1").finish(done)
    assert judged(tmp_path, WELL).problems == ["r1.lift.1 is lost, and its job succeeded"]


def test_a_driver_of_nobody_is_found(tmp_path: Path) -> None:
    found = judged(tmp_path, WELL, Struck(submission="zombie", at=1.0))
    assert found.problems == ["the driver of zombie was of no attempt"]

"""What must hold of the Ray jobs: one for each attempt, one at a time, and none thrown away.

What ran is known from the lines that the jobs themselves have written, and when a driver was
killed from whoever killed it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from flows.adapters.ray_executor import job_id
from flows.core.lifecycle import TaskEvent
from flows.core.records import Attempt, AttemptStatus
from ray_jobs import ArtifactStore, JobState
from ray_jobs.markers import JobMarkers
from tests.simulation.findings import Findings, Record
from tests.soak.fleet import JobLine
from tests.soak.head import Struck

GONE = (AttemptStatus.LOST, AttemptStatus.FAILED)


def check_jobs(
    found: Findings,
    record: Record,
    artifacts: str,
    lines: Sequence[JobLine],
    struck: Sequence[Struck],
) -> None:
    """Compare what ran with what the store says; `artifacts` holds the jobs' markers."""
    attempts = {
        attempt.id: attempt
        for detail in record.details
        for attempt in detail.attempts
        if attempt.executor == "ray"
    }
    begun = Counter(line.attempt for line in lines if line.what == "begin")
    ended = Counter(line.attempt for line in lines if line.what == "end")
    for line in lines:
        found.check(line.what != "beside", f"{line.attempt} worked beside another of its task")
        found.check(line.attempt in attempts, f"{line.attempt} is a job, and no attempt")
        found.check(
            line.submission == job_id(line.attempt), f"{line.attempt} ran as {line.submission}"
        )
    for attempt_id, times in begun.items():
        found.check(times == 1, f"{attempt_id} was {times} jobs")
    for attempt in attempts.values():
        found.counts[f"Ray attempts {attempt.status}"] += 1
        if attempt.status is AttemptStatus.SUCCEEDED:
            done = begun[attempt.id] == ended[attempt.id] == 1
            found.check(done, f"{attempt.id} succeeded, and its job has not ended once")
        else:
            _check_not_done(found, artifacts, attempt)
    _count_adoptions(found, record, attempts, lines)
    _check_struck(found, attempts, begun, struck)
    found.counts["Ray jobs that worked"] = len(begun)


def _check_not_done(found: Findings, artifacts: str, attempt: Attempt) -> None:
    """A job that has left its result was not in vain."""
    done = JobMarkers(ArtifactStore(artifacts), job_id(attempt.id)).done()
    succeeded = done is not None and done.state is JobState.SUCCEEDED
    found.check(not succeeded, f"{attempt.id} is {attempt.status}, and its job succeeded")


def _count_adoptions(
    found: Findings, record: Record, attempts: dict[str, Attempt], lines: Sequence[JobLine]
) -> None:
    """Attempts whose worker died: their jobs are taken over, and go on."""
    begun = {line.attempt: line.at for line in lines if line.what == "begin"}
    adopted: dict[str, bool] = {}  # attempt -> whether its job was at work then
    for event in record.events:
        if event.kind == TaskEvent.ADOPTED:
            name = f"{event.run_id}.{event.task}.{event.attempt}"
            at_work = begun.get(name, math.inf) < event.at.timestamp()
            adopted[name] = adopted.get(name, False) or at_work
    for name, at_work in adopted.items():
        when = "at work" if at_work else "before it worked"
        found.counts[f"Ray attempts adopted {when}, {attempts[name].status}"] += 1


def _check_struck(
    found: Findings,
    attempts: dict[str, Attempt],
    begun: Counter[str],
    struck: Sequence[Struck],
) -> None:
    """A driver that was killed is noticed, unless it had left its result before."""
    by_submission = {job_id(attempt_id): attempt for attempt_id, attempt in attempts.items()}
    noticed = []
    for kill in struck:
        attempt = by_submission.get(kill.submission)
        found.check(attempt is not None, f"the driver of {kill.submission} was of no attempt")
        if attempt is None or attempt.ended_at is None:
            continue
        if attempt.status not in GONE:
            found.counts["drivers killed that had left their result"] += 1
        else:
            when = "at work" if begun[attempt.id] else "before it worked"
            found.counts[f"drivers killed {when}, {attempt.status}"] += 1
            noticed.append(attempt.ended_at.timestamp() - kill.at)
    if noticed:
        found.counts["ms until a killed driver was noticed, median"] = round(
            1000 * statistics.median(noticed)
        )
        found.counts["ms until a killed driver was noticed, at most"] = round(1000 * max(noticed))

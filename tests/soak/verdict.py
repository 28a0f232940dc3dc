"""What must hold after the kills: the same checks as in the simulation, and the tasks' own log."""

from __future__ import annotations

from collections import Counter

from flows.core.pool import Pool
from flows.core.records import AttemptStatus, Run, RunStatus
from flows.core.schedule import Interval
from flows.core.store import Store
from tests.simulation.chains import check_attempts, check_chain
from tests.simulation.findings import Findings, Record
from tests.simulation.fires import check_events, check_fire, check_times
from tests.simulation.slots import check_slots

POOLS = {"narrow": Pool(name="narrow", slots=4)}

SPOILED = {"spoiled": ("OSError", "ValueError", "Mute", "SystemExit", "Undecidable", "NotStorable")}
"""Flows whose runs fail, and of what."""


def check_ending(found: Findings, run: Run) -> None:
    """No task fails because something was killed; where one does, it is of what it did itself."""
    found.counts[f"runs of {run.flow} {run.status}"] += 1
    errors = SPOILED.get(run.flow)
    well = run.status is RunStatus.SUCCEEDED
    if errors is not None:
        well = run.status is RunStatus.FAILED and any(e in (run.reason or "") for e in errors)
    found.check(well, f"{run.id} of {run.flow} is {run.status}: {run.reason}")


def judge(store: Store, lines: list[tuple[float, str]], promised: dict[str, str]) -> Findings:
    """Read the store and the log, and say what is wrong."""
    found = Findings()
    record = Record(store)
    begun = Counter(attempt for _, attempt in lines)
    for detail in record.details:
        check_chain(found, detail, record.chains[detail.run.id])
        check_attempts(found, detail)
        check_ending(found, detail.run)
        for attempt in detail.attempts:
            found.counts[f"attempts {attempt.status}"] += 1
            if attempt.status is AttemptStatus.SUCCEEDED:
                found.check(begun[attempt.id] == 1, f"{attempt.id} ran {begun[attempt.id]} times")
    check_slots(found, record, POOLS)
    known = {attempt.id for detail in record.details for attempt in detail.attempts}
    for attempt_id, times in begun.items():
        found.check(attempt_id in known, f"{attempt_id} ran, and no attempt says so")
        found.check(times == 1, f"{attempt_id} ran {times} times")
    runs = {detail.run.id: detail.run for detail in record.details}
    keys = Counter(run.key for run in runs.values())
    for key, times in keys.items():
        found.check(times == 1, f"{key} has {times} runs")
    for stored in store.schedules.list():
        fires = store.schedules.fires(stored.schedule.name, 100_000)
        found.counts["fires"] += len(fires)
        for fire in fires:
            check_fire(found, fire, runs)
        check_events(found, record, stored.schedule, fires)
        if isinstance(stored.schedule.trigger, Interval):
            check_times(found, record, stored.schedule, fires)
    for key, run_id in promised.items():
        run = runs.get(run_id)
        found.check(run is not None and run.key == f"hook:{key}", f"{key} was promised {run_id}")
    found.counts["runs"] = len(runs)
    found.counts["starts in the log"] = len(lines)
    return found

"""Schedules: every time, version and asset became one fire, and every fire one run at most."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from flows.core.due import ON_TIME
from flows.core.records import Run
from flows.core.schedule import (
    Fire,
    FireOutcome,
    Interval,
    Missed,
    Overlap,
    Schedule,
    ScheduleStatus,
)
from tests.simulation.findings import Findings, Record
from tests.simulation.planner import Data
from tests.simulation.slots import RUN_ENDS
from tests.simulation.world import START


def check_fires(found: Findings, record: Record, schedules: Sequence[Schedule], data: Data) -> None:
    """What fired, against what should have."""
    runs = {detail.run.id: detail.run for detail in record.details}
    by_key: dict[str, list[Run]] = defaultdict(list)
    for run in runs.values():
        if "schedule" in run.trigger:
            by_key[f"{run.trigger['schedule']}:{run.trigger['key']}"].append(run)
    for key, same in by_key.items():
        found.check(len(same) == 1, f"{key} was fired {len(same)} times")
    for schedule in schedules:
        fires = record.store.schedules.fires(schedule.name, 100_000)
        found.counts["fires"] += len(fires)
        for fire in fires:
            check_fire(found, fire, runs)
        stood_for = {fire.run_id for fire in fires if fire.run_id is not None}
        for run in runs.values():
            if run.trigger.get("schedule") == schedule.name:
                found.check(run.id in stood_for, f"run {run.id} has no fire")
        check_events(found, record, schedule, fires)
        check_overlap(found, record, schedule)
        if schedule.name == "often":
            check_times(found, record, schedule, fires)
    check_data(found, record, data)
    check_assets(found, record)


def check_fire(found: Findings, fire: Fire, runs: dict[str, Run]) -> None:
    """A fire that was started has its run, and no other has one."""
    name = f"fire {fire.schedule} {fire.key}"
    found.check(fire.outcome is not FireOutcome.PENDING, f"{name} was never decided on")
    if fire.outcome is not FireOutcome.STARTED:
        found.check(fire.run_id is None, f"{name} is {fire.outcome} and has run {fire.run_id}")
        found.check(fire.reason, f"{name} is {fire.outcome} and does not say why")
        return
    run = runs.get(fire.run_id or "")
    found.check(run is not None, f"{name} started run {fire.run_id}, which is not there")
    if run is not None:
        found.check(
            run.key == f"{fire.schedule}:{fire.key}", f"{name} holds run {run.id} of {run.key}"
        )


def check_overlap(found: Findings, record: Record, schedule: Schedule) -> None:
    """Where fires are skipped for an open run, none is made beside another.

    All that were missed, where they are asked for, are: they run one after the other.
    """
    if schedule.overlap is not Overlap.SKIP or schedule.missed is Missed.ALL:
        return
    mine = {
        detail.run.id
        for detail in record.details
        if detail.run.trigger.get("schedule") == schedule.name
        and detail.run.trigger["kind"] != "backfill"
    }
    open_runs: set[str] = set()
    for event in record.events:
        run = event.run_id or ""
        if run not in mine or event.task is not None:
            continue
        if event.kind == "run.created":
            found.check(not open_runs, f"{run} of {schedule.name} was made beside {open_runs}")
            open_runs.add(run)
        elif event.kind in RUN_ENDS:
            open_runs.discard(run)


def check_events(
    found: Findings, record: Record, schedule: Schedule, fires: Sequence[Fire]
) -> None:
    """Each start of a fire is one event, and the changes of a schedule are in one order."""
    mine = [e for e in record.events if e.data.get("schedule") == schedule.name]
    mine = [e for e in mine if e.kind.startswith("schedule.")]
    started = Counter(e.data["key"] for e in mine if e.kind == "schedule.fired")
    for fire in fires:
        wanted = int(fire.outcome is FireOutcome.STARTED)
        found.check(
            started[fire.key] == wanted,
            f"fire {schedule.name} {fire.key}: {started[fire.key]} events say that it started",
        )
    seqs = [event.seq for event in mine]
    found.check(seqs == sorted(seqs), f"the events of schedule {schedule.name} are not in order")


def check_times(found: Findings, record: Record, schedule: Schedule, fires: Sequence[Fire]) -> None:
    """Every occurrence has its fire, decided as the schedule's policy wants."""
    stored = record.store.schedules.get(schedule.name)
    trigger = schedule.trigger
    assert isinstance(trigger, Interval)
    if stored.status is ScheduleStatus.DISABLED:
        found.check(False, f"{schedule.name} is disabled: {stored.reason}")
        return
    anchor = datetime.fromisoformat(stored.cursor["anchor"])
    until = datetime.fromisoformat(stored.cursor["at"])
    asked_for = {
        detail.run.id for detail in record.details if detail.run.trigger["kind"] == "backfill"
    }
    by_key = {fire.key: fire for fire in fires if fire.run_id not in asked_for}
    at = anchor + trigger.every
    while at <= until:
        fire = by_key.pop(at.isoformat(), None)
        found.check(fire is not None, f"{schedule.name} never decided on {at}")
        if fire is not None:
            check_policy(found, schedule, fire)
        at += trigger.every
    for key in by_key:
        found.check(False, f"{schedule.name} fired at {key}, which is none of its times")


def check_policy(found: Findings, schedule: Schedule, fire: Fire) -> None:
    """Missed only when late, and run only when not too late."""
    late = fire.decided_at - fire.at
    name = f"{schedule.name} {fire.key}, {late} late, is {fire.outcome}"
    found.check(late >= timedelta(0), f"{name}: before its time")
    if fire.outcome is FireOutcome.MISSED:
        found.check(late > ON_TIME, f"{name}: it was on time")
        if schedule.missed is Missed.ALL:
            found.check(late > schedule.grace, f"{name}: all late ones were to be run")
    elif schedule.missed is Missed.SKIP:
        found.check(late <= ON_TIME, f"{name}: late ones were to be skipped")
    else:
        found.check(late <= max(schedule.grace, ON_TIME), f"{name}: it was too late for that")


def check_data(found: Findings, record: Record, data: Data) -> None:
    """All that was appended has been run on, and no version twice."""
    stored = record.store.schedules.get("fresh")
    if stored.status is not ScheduleStatus.ACTIVE:
        found.check(False, f"fresh is {stored.status}: {stored.reason}")
        return
    keys = (fire.key for fire in record.store.schedules.fires("fresh", 100_000))
    fired = max((int(key.partition("@")[2]) for key in keys), default=0)
    left = sum(rows for rows, _ in data.commits[fired:])
    found.check(left == 0, f"{left} rows after version {fired} never made the flow run")


def check_assets(found: Findings, record: Record) -> None:
    """Every model that was made has its fire, but what a slow clock dates before the schedule."""
    keys = {fire.key for fire in record.store.schedules.fires("after", 100_000)}
    for event in record.events:
        model = str(event.data.get("asset")).startswith("model:")
        if event.kind == "asset.updated" and model and event.at >= START:
            found.check(f"event:{event.id}" in keys, f"asset event {event.id} fired nothing")

"""What `--json` prints; the keys are stable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from flows.cli.wording import between, iso
from flows.config import Change
from flows.core import values
from flows.core.records import Attempt, ErrorInfo, Run, TaskRun
from flows.core.schedule import Fire, StoredSchedule
from flows.core.store import RunDetail
from flows.schedules import in_words
from registry import ChampionStatus, LedgerEntry, NightEntry, Verdict

Json = dict[str, Any]

_OF_A_VERDICT = frozenset({"decision", "promote", "challenger", "rules"})
"""Keys that only a verdict has among what tasks return."""


def run_json(run: Run) -> Json:
    """A run."""
    return {
        "id": run.id,
        "flow": run.flow,
        "key": run.key,
        "status": run.status.value,
        "reason": run.reason,
        "trigger": run.trigger,
        "config_digest": run.config_digest,
        "created": iso(run.created_at),
        "started": iso(run.started_at),
        "ended": iso(run.ended_at),
        "duration_s": between(run.started_at, run.ended_at),
    }


def detail_json(detail: RunDetail, previous: Run | None, changes: Sequence[Change]) -> Json:
    """A run with everything about it."""
    return run_json(detail.run) | {
        "tasks": [task_json(task) for task in detail.tasks],
        "attempts": [attempt_json(attempt) for attempt in detail.attempts],
        "verdict": verdict_json(detail),
        "mlflow_run_id": mlflow_run(detail),
        "config": yaml.safe_load(detail.config_yaml),
        "previous": previous.id if previous else None,
        "config_changes": [change._asdict() for change in changes],
    }


def task_json(task: TaskRun) -> Json:
    """A task of a run, with what it returned."""
    return {
        "key": task.key,
        "status": task.status.value,
        "attempt": task.attempt,
        "failures": task.failures,
        "losses": task.losses,
        "started": iso(task.started_at),
        "ended": iso(task.ended_at),
        "duration_s": between(task.started_at, task.ended_at),
        "reason": task.reason,
        "value": None if task.value is None else json.loads(task.value),
        "error": error_json(task.error),
    }


def attempt_json(attempt: Attempt) -> Json:
    """One try of a task."""
    return {
        "id": attempt.id,
        "task": attempt.key,
        "number": attempt.number,
        "status": attempt.status.value,
        "executor": attempt.executor,
        "worker": attempt.worker,
        "started": iso(attempt.started_at),
        "ended": iso(attempt.ended_at),
        "duration_s": between(attempt.started_at, attempt.ended_at),
        "stopping": attempt.stopping,
        "error": error_json(attempt.error),
    }


def error_json(error: ErrorInfo | None) -> Json | None:
    """An error as it was recorded."""
    if error is None:
        return None
    return {
        "type": error.type,
        "message": error.message,
        "hint": error.hint,
        "permanent": error.permanent,
        "trace": error.trace,
    }


def verdict_json(detail: RunDetail) -> Json | None:
    """The verdict of the run's gate, with every figure; None when it has none."""
    found = [value for value in _returned(detail) if value.keys() >= _OF_A_VERDICT]
    return found[-1] if found else None


def verdict_of(detail: RunDetail) -> Verdict | None:
    """The same, typed."""
    found = verdict_json(detail)
    verdict: Verdict | None = None if found is None else values.from_json(found, Verdict)
    return verdict


def mlflow_run(detail: RunDetail) -> str | None:
    """The id of the run in MLflow, from what its tasks returned."""
    found = (value.get("mlflow_run_id") for value in _returned(detail))
    return next((name for name in found if isinstance(name, str) and name), None)


def _returned(detail: RunDetail) -> list[Json]:
    """The objects among what the run's tasks returned."""
    found = [json.loads(task.value) for task in detail.tasks if task.value is not None]
    return [value for value in found if isinstance(value, dict)]


def schedule_json(stored: StoredSchedule) -> Json:
    """A schedule and where it stands."""
    schedule = stored.schedule
    declared: Json = values.to_json(schedule)
    return declared | {
        "trigger": {"kind": type(schedule.trigger).__name__, **values.to_json(schedule.trigger)},
        "when": in_words(schedule.trigger),
        "status": stored.status.value,
        "reason": stored.reason,
        "next": iso(stored.next_at),
    }


def fire_json(fire: Fire) -> Json:
    """One fire of a schedule."""
    return {
        "schedule": fire.schedule,
        "key": fire.key,
        "at": iso(fire.at),
        "decided": iso(fire.decided_at),
        "outcome": fire.outcome.value,
        "reason": fire.reason,
        "run": fire.run_id,
    }


def champion_json(status: ChampionStatus) -> Json:
    """Who is live."""
    return {
        "model": status.model,
        "version": status.version,
        "epoch": status.epoch,
        "run": status.run_id,
        "since": iso(status.at),
        "settled": status.settled,
        "outsider": status.outsider,
        "action": status.action,
        "reason": status.reason,
    }


def entry_json(entry: LedgerEntry) -> Json:
    """One change of a champion."""
    return {
        "model": entry.model,
        "epoch": entry.epoch,
        "version": entry.version,
        "previous_version": entry.previous_version,
        "action": entry.action.value,
        "verdict": None if entry.verdict is None else json.loads(entry.verdict),
        "run": entry.run_id,
        "actor": entry.actor,
        "reason": entry.reason,
        "at": iso(entry.at),
        "previous_hash": entry.prev_hash,
        "hash": entry.hash,
        "settled": entry.settled_at is not None,
    }


def evidence_json(model: str, night: NightEntry | None) -> Json:
    """The gate's latest night of a model: open comparisons and the error budget."""
    if night is None:
        return {"model": model, "night": 0, "cases": [], "budget": None}
    year = night.docket.year
    return {
        "model": model,
        "night": night.night,
        "run": night.run_id,
        "at": iso(night.at),
        "champion_epoch": night.docket.epoch,
        "reason": night.verdict.reason,
        "cases": [
            {
                "challenger": case.challenger,
                "log_evidence": case.log_value,
                "share": case.share,
                "rows": case.rows,
                "nights": case.nights,
                "age": case.age,
                "opened": iso(case.opened),
                "judged_until": iso(case.judged_until),
            }
            for case in night.docket.cases
        ],
        "budget": {
            "year": year.number,
            "alpha": year.alpha,
            "left": year.wealth,
            "challengers": year.opened,
            "from_reserve": year.reopened,
        },
        "hash": night.hash,
    }

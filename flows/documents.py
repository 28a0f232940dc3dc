"""What `--json` prints and the API answers; the keys are stable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml

import registry
from flows.config import Change
from flows.core import values
from flows.core.records import Attempt, ErrorInfo, Run, TaskRun
from flows.core.schedule import Fire, StoredSchedule
from flows.core.store import RunDetail
from flows.declarations import in_words
from registry import Verdict
from registry.card.comparisons_table import case_words

if TYPE_CHECKING:
    from registry import (
        Answer,
        ApprovalRequest,
        Card,
        ChampionStatus,
        LedgerEntry,
        ModelEvidence,
        Watched,
    )
    from registry.error_budget import Year

Json = dict[str, Any]

_OF_A_DATASET = frozenset({"digest", "view", "version", "rows", "sources", "columns"})
"""Keys that only a dataset has among what tasks return."""

_OF_A_CHALLENGER = frozenset({"version", "train_rows", "train_until", "holdout_from", "definition"})
"""Keys that only a trained challenger has."""

_OF_A_SETTLEMENT = {"watched", "live", "reason"}
"""Keys of what came of a watch."""

_OF_A_VERDICT = frozenset({"decision", "promote", "challenger", "rules"})
"""Keys that only a verdict has among what tasks return."""


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from start to end; None when one of them is not known."""
    return None if start is None or end is None else (end - start).total_seconds()


def iso(at: datetime | None) -> str | None:
    """A time as ISO 8601 in UTC."""
    return None if at is None else at.isoformat()


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


def progress_json(detail: RunDetail) -> Json:
    """A run and its tasks."""
    return run_json(detail.run) | {"tasks": [task_json(task) for task in detail.tasks]}


def detail_json(detail: RunDetail, previous: Run | None, changes: Sequence[Change]) -> Json:
    """A run with everything about it."""
    return progress_json(detail) | {
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


def watch_line(detail: RunDetail) -> str | None:
    """What came of the watch over the champion; None when there was nothing to watch."""
    said = (value for value in _returned(detail) if value.keys() == _OF_A_SETTLEMENT)
    return next((value["reason"] for value in said if value["watched"]), None)


def dataset_json(detail: RunDetail) -> Json | None:
    """The data that the run's challenger was trained and judged on; None when it made none."""
    return next((value for value in _returned(detail) if value.keys() >= _OF_A_DATASET), None)


def challenger_json(detail: RunDetail) -> Json | None:
    """The challenger that the run trained; None when it trained none."""
    return next((value for value in _returned(detail) if value.keys() >= _OF_A_CHALLENGER), None)


def card_json(run_id: str, card: Card, detail: RunDetail | None) -> Json:
    """A verdict and everything that it rests on."""
    year, reign = card.year, card.champion
    return {
        "run": run_id,
        "night": card.night,
        "at": iso(card.at),
        "verdict": json.loads(registry.verdict_json(card.verdict)),
        "budget": None if year is None else budget_json(year),
        "champion": None
        if reign is None
        else {
            "version": reign.version,
            "epoch": reign.epoch,
            "action": reign.action,
            "actor": reign.actor,
            "since": iso(reign.since),
        },
        "evidence": [
            {
                "night": past.night,
                "at": iso(past.at),
                "cases": {case.challenger: case.log_evidence for case in past.cases},
            }
            for past in card.history
        ],
        "dataset": None if detail is None else dataset_json(detail),
        "challenger": None if detail is None else challenger_json(detail),
        "hash": card.seal,
    }


def budget_json(year: Year) -> Json:
    """The account of the error budget."""
    return {
        "year": year.number,
        "alpha": year.alpha,
        "left": year.wealth,
        "challengers": year.opened,
    }


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
        "origin": schedule.origin.partition("@")[0],
        "project": sorted(schedule.owners),
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


def champion_json(status: ChampionStatus, watched: Watched | None) -> Json:
    """Who is live, and how the watch over it stands."""
    return {
        "model": status.model,
        "version": status.version,
        "epoch": status.epoch,
        "run": status.run_id,
        "since": iso(status.at),
        "settled": status.settled,
        "outsider": status.outsider,
        "gone": status.gone,
        "action": status.action,
        "reason": status.reason,
        "watch": None if watched is None else watched_json(watched),
    }


def watched_json(watched: Watched) -> Json:
    """How the watch over a champion stands."""
    return {
        "state": watched.state.value,
        "previous": watched.previous,
        "harm": watched.harm,
        "night": watched.nights,
        "nights": watched.planned,
        "metric": watched.metric,
        "rows": watched.rows,
        "score": watched.score,
        "previous_score": watched.previous_score,
        "log_evidence": watched.log_evidence,
        "reason": watched.reason,
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


def request_json(request: ApprovalRequest) -> Json:
    """A version that waits for approval."""
    return {
        "model": request.model,
        "version": request.version,
        "champion": request.champion,
        "epoch": request.epoch,
        "run": request.run_id,
        "asked": iso(request.asked_at),
        "expires": iso(request.expires_at),
        "reason": request.proof,
    }


def rejection_json(answer: Answer) -> Json:
    """A rejection, in the words of the ledger's entries; its epoch is that of who stayed."""
    return {
        "model": answer.model,
        "epoch": answer.epoch,
        "version": answer.version,
        "previous_version": None,
        "action": answer.answer.value,
        "verdict": None,
        "run": answer.run_id,
        "actor": answer.actor,
        "reason": answer.reason,
        "at": iso(answer.at),
        "previous_hash": answer.prev_hash,
        "hash": answer.hash,
        "settled": True,
    }


def evidence_json(found: ModelEvidence) -> Json:
    """The gate's latest night of a model: open comparisons and the error budget."""
    night = found.night
    if night is None:
        return {"model": found.model, "night": 0, "cases": [], "budget": None}
    year, notes = night.docket.year, {note.challenger: note for note in found.open}
    return {
        "model": found.model,
        "night": night.night,
        "run": night.run_id,
        "at": iso(night.at),
        "champion_epoch": night.docket.epoch,
        "reason": night.verdict.reason,
        "cases": [
            {
                "challenger": case.challenger,
                "log_evidence": case.log_value,
                "tonight": case_words(notes[case.challenger]) if case.challenger in notes else "",
                "share": case.share,
                "rows": case.rows,
                "nights": case.nights,
                "age": case.age,
                "opened": iso(case.opened),
                "judged_until": iso(case.judged_until),
            }
            for case in night.docket.cases
        ],
        "budget": budget_json(year),
        "hash": night.hash,
    }

"""What the API can do: the verbs of the services, with what an outsider may not say refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.bootstrap import Ratchet
from flows.core.errors import NotFound
from flows.core.records import Run
from flows.core.schedule import Fire, FireOutcome
from flows.core.store import RunDetail

BY = "API"


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether everything works, and how each part stands."""

    ok: bool
    parts: Mapping[str, str] = field(default_factory=dict)  # name -> up, starting, dead, ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Takes orders. Errors are RatchetErrors; nothing is half done when one is raised."""

    ratchet: Ratchet
    health: Callable[[], Health]
    ordered: Callable[[], None]  # called after each order: there is something to do now

    def fire(self, schedule: str, overrides: Sequence[str], key: str | None) -> Fire:
        """Fire a schedule. Raises NotFound, Refused, ConfigError."""
        fire = self.ratchet.fire(schedule, overrides, key=key, by=BY)
        if fire.outcome is FireOutcome.STARTED:
            self.ordered()
        return fire

    def start(self, flow: str, overrides: Sequence[str], key: str | None) -> Run:
        """Start a run of a flow; a key that was used before gives the run of then.

        Raises NotFound, ConfigError.
        """
        if flow not in self.ratchet.flows.names():  # a dotted path would import what it names
            raise NotFound(
                f"there is no flow {flow!r}",
                hint=f"known: {', '.join(sorted(self.ratchet.flows.names())) or 'none'}",
            )
        run = self.ratchet.start(
            self.ratchet.flow(flow),
            overrides,
            trigger={"kind": "api"},
            key=None if key is None else f"api:{key}",
            outside=True,
        )
        self.ordered()
        return run

    def show(self, run: str) -> RunDetail:
        """A run and its tasks. Raises NotFound."""
        return self.ratchet.service.show(run)

    def cancel(self, run: str) -> Run:
        """Ask for a run's end. Raises NotFound, Refused."""
        cancelled = self.ratchet.service.cancel(run, by=BY)
        self.ordered()
        return cancelled


def run_document(run: Run) -> dict[str, Any]:
    """A run as the API tells it."""
    return {
        "run": run.id,
        "flow": run.flow,
        "key": run.key,
        "status": run.status.value,
        "reason": run.reason,
        "trigger": run.trigger,
        "created": run.created_at.isoformat(),
        "started": run.started_at.isoformat() if run.started_at else None,
        "ended": run.ended_at.isoformat() if run.ended_at else None,
    }


def detail_document(detail: RunDetail) -> dict[str, Any]:
    """A run with its tasks."""
    tasks = [
        {"task": t.key, "status": t.status.value, "attempt": t.attempt, "reason": t.reason}
        for t in detail.tasks
    ]
    return run_document(detail.run) | {"tasks": tasks}


def fire_document(fire: Fire) -> dict[str, Any]:
    """A fire, and the run that it started."""
    return {
        "run": fire.run_id,
        "fire": {
            "schedule": fire.schedule,
            "key": fire.key,
            "at": fire.at.isoformat(),
            "outcome": fire.outcome.value,
            "reason": fire.reason,
        },
    }

"""The verbs that every surface calls: the CLI, the notebook, the console, a flow's own `start`.

A service only writes down what is wanted and reads what is known; engines do the work.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flows.core.clock import Clock
from flows.core.errors import NotFound, Refused
from flows.core.flow import Flow
from flows.core.records import Event, Lease, Run, RunStatus
from flows.core.store import NewRun, RunDetail, Store
from flows.core.worker import dead_among

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing that looks alike


class Service:
    """What people and programs may ask of Ratchet about its runs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    def start(
        self,
        flow: Flow,
        *,
        config: Any,
        config_yaml: str,
        config_digest: str,
        trigger: dict[str, Any],
        key: str | None = None,
    ) -> Run:
        """Record a run of `flow`; an engine that drives it does the rest.

        Args:
            config: the resolved config as JSON data.
            key: what makes the run unique in its flow (a data version, a fire, an idempotency
                key); asking twice with one key gives the run that the first call made.
        """
        now = self.clock.now()
        run_id = new_run_id(now)
        new = NewRun(
            id=run_id,
            flow=flow.name,
            key=key or run_id,
            source=flow.source,
            graph=flow.graph,
            config=config,
            config_yaml=config_yaml,
            config_digest=config_digest or digest(config_yaml),
            trigger=trigger,
        )
        return self.store.runs.create(new, now)

    def runs(
        self, *, flow: str | None = None, status: str | None = None, limit: int = 50
    ) -> tuple[Run, ...]:
        """The newest runs first. Raises Refused for a status that does not exist."""
        if status is not None and status not in list(RunStatus):
            raise Refused(
                f"there is no status {status!r}", hint=f"one of {', '.join(map(str, RunStatus))}"
            )
        return self.store.reads.runs(flow=flow, status=status, limit=limit)

    def find(self, reference: str) -> Run:
        """A run by its id, the end of its id, or `last`. Raises NotFound, Refused."""
        return self.store.reads.find(reference)

    def show(self, reference: str) -> RunDetail:
        """Everything about one run. Raises NotFound, Refused."""
        return self.store.reads.detail(self.find(reference).id)

    def previous(self, run: Run) -> Run | None:
        """The run of the same flow before this one; None for the first."""
        return self.store.reads.previous(run)

    def events(self, *, run_id: str | None = None, after: int = 0) -> tuple[Event, ...]:
        """Events in order, from the one after `after` on."""
        return self.store.reads.events(run_id=run_id, after=after)

    def cancel(self, reference: str, *, by: str) -> Run:
        """Ask for a run's end. It says cancelled once nothing of it is alive. Raises Refused."""
        return self.store.runs.cancel(
            self.find(reference).id, f"cancelled by {by}", self.clock.now()
        )

    def retry(self, reference: str) -> Run:
        """Make a run go on from where it was; finished tasks are not run again.

        An ended run is opened again for what had not succeeded. A run whose worker died is left
        as it is: the engine that drives it next takes over what the dead worker had claimed.

        Raises:
            Refused: the run succeeded, was skipped, or a living worker is at it.
        """
        run = self.find(reference)
        if run.status.ended:
            return self.store.runs.retry(run.id, self.clock.now())
        alive = self.living_workers(run.id)
        if alive:
            raise Refused(
                f"run {run.id} is {run.status}: worker {sorted(alive)[0]} is at it",
                hint=f"watch it: ratchet logs {run.id} -f",
            )
        return run

    def living_workers(self, run_id: str) -> set[str]:
        """The workers that have claimed something of the run and are not known to be dead."""
        claimed = {attempt.worker for attempt in self.store.runs.live_attempts(run_id)}
        return claimed - dead_among(claimed, self.store.leases.holders(self.clock.now()))

    def workers(self) -> tuple[Lease, ...]:
        """The workers that are not known to be dead."""
        alive = self.store.leases.holders(self.clock.now())
        dead = dead_among([lease.holder for lease in alive], alive)
        return tuple(lease for lease in alive if lease.holder not in dead)

    def durability(self) -> str:
        """How the state store keeps what is committed, in a few words. Raises StoreError."""
        return self.store.reads.durability()


class Flows:
    """The flows that are known here, by name and by dotted path."""

    def __init__(self, load: Callable[[str], Flow]) -> None:
        self._load = load
        self._known: dict[str, Flow] = {}

    def add(self, flow: Flow) -> None:
        """Make a flow known. Raises Refused when its name is taken by another."""
        other = self._known.setdefault(flow.name, flow)
        if other.source != flow.source:
            raise Refused(
                f"two flows are called {flow.name}: {other.source} and {flow.source}",
                hint="give one another name: @flow(name='...')",
            )
        self._known[flow.name] = flow

    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._known)

    def get(self, name: str) -> Flow:
        """A flow by its name or its dotted path. Raises NotFound, naming the nearest."""
        if name in self._known:
            return self._known[name]
        if ":" in name:
            flow = self._load(name)
            self.add(flow)
            return flow
        raise NotFound(
            f"there is no flow {name!r}", hint=f"known: {', '.join(sorted(self._known)) or 'none'}"
        )


def new_run_id(now: datetime) -> str:
    """Sortable by creation, short at its end: `261122-031500-7f3a2k`."""
    return f"{now:%y%m%d-%H%M%S}-" + "".join(secrets.choice(_ALPHABET) for _ in range(6))


def digest(text: str) -> str:
    """sha256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()

"""The verbs that every surface calls: the CLI, the notebook, the console, a flow's own `start`.

A service only writes down what is wanted and reads what is known; engines do the work.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from flows.core.clock import Clock
from flows.core.errors import NotFound, Refused
from flows.core.flow import Flow
from flows.core.identity import is_proven_dead
from flows.core.lease_keeper import living_among
from flows.core.pool import Pool, Usage
from flows.core.records import Event, Lease, Run, RunStatus
from flows.core.store import NewRun, RunDetail, Store
from flows.core.store.events import LEFT_ALONE

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing that looks alike


class Service:
    """What people and programs may ask of Ratchet about its runs."""

    def __init__(self, store: Store, clock: Clock, pools: Mapping[str, Pool] | None = None) -> None:
        self.store = store
        self.clock = clock
        self.pools = pools or {}  # by name; the same as the workers have

    def start(
        self,
        flow: Flow,
        *,
        config: Any,
        config_yaml: str,
        config_digest: str,
        trigger: dict[str, Any],
        key: str | None = None,
        held_by: str | None = None,
    ) -> Run:
        """Record a run of `flow`; an engine that drives it does the rest.

        Args:
            config: the resolved config as JSON data.
            key: what makes the run unique in its flow (a data version, a fire, an idempotency
                key); asking twice with one key gives the run that the first call made.
            held_by: the worker that is about to drive it, alone; None: whoever finds it.
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
            trigger={**trigger, **flow.subject(config)},
            priority=flow.priority,
            max_runs=flow.max_runs,
            held_by=held_by,
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

    def get(self, run_id: str) -> Run:
        """A run by its whole id. Raises NotFound."""
        return self.store.reads.get(run_id)

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

    def retry(self, reference: str, *, held_by: str | None = None) -> Run:
        """Make a run go on from where it was; finished tasks are not run again.

        An ended run is opened again for what had not succeeded. A run whose worker died is left
        as it is: the engine that drives it next takes over what the dead worker had claimed.

        Args:
            held_by: the worker that is about to drive it, alone; None: whoever finds it.

        Raises:
            Refused: the run succeeded, was skipped, or a living worker is at it or has it to
                itself.
        """
        run = self.find(reference)
        if run.status.ended:
            return self.store.runs.retry(run.id, self.clock.now(), holder=held_by)
        if alive := self.living_workers(run.id) - {held_by}:
            raise Refused(
                f"run {run.id} is {run.status}: worker {sorted(alive)[0]} is at it",
                hint=f"watch it: ratchet logs {run.id} -f",
            )
        return run

    def why_waiting(self, run: Run) -> str | None:
        """Why nothing more of an open run can start just now, in one sentence; None when it can.

        Its lane or its flow's limit, no worker for it, one that cannot carry it on, or the full
        pools of all that waits.
        """
        now = self.clock.now()
        if run.status.ended or run.claimable_at is None:
            return None
        if run.claimable_at > now:
            return f"its next try is due at {run.claimable_at:%H:%M:%S} UTC"
        return (
            self._why_not_begun(run)
            or self._why_no_worker(run)
            or self._why_left_alone(run)
            or self._why_no_slot(run, now)
        )

    def _why_not_begun(self, run: Run) -> str | None:
        if run.status is not RunStatus.QUEUED or (run.lane is None and run.max_runs is None):
            return None
        before = self.store.pools.started(run.flow, run.lane)
        first = next((r for r in before if run.lane is not None and r.lane == run.lane), None)
        if first is not None:
            return f"run {first.id} is at it, and of {run.lane} one runs at a time"
        same = [r.id for r in before if r.flow == run.flow]
        if run.max_runs is not None and len(same) >= run.max_runs:
            return f"{len(same)} of {run.max_runs} runs of {run.flow} are at it: {', '.join(same)}"
        return None

    def _why_no_worker(self, run: Run) -> str | None:
        alive = self.workers()
        if run.held_by is not None:
            if run.held_by in {lease.holder for lease in alive}:
                return None
            return f"worker {run.held_by}, which had it to itself, is gone"
        pools = (run.claimable or "").split()
        served = " ".join(lease.serves for lease in alive if lease.serves)
        if "*" in served or set(pools) & set(served.split()):
            return None
        return f"no worker serves {' or '.join(f'pool {name}' for name in pools)}"

    def _why_left_alone(self, run: Run) -> str | None:
        newest = self.store.reads.newest_event(run.id)
        if newest is None or newest.kind != LEFT_ALONE:
            return None
        return f"worker {newest.data['worker']} cannot carry it on: {newest.data['reason']}"

    def _why_no_slot(self, run: Run, now: datetime) -> str | None:
        pools = {name: self.pools.get(name) for name in (run.claimable or "").split()}
        limited = {name: pool for name, pool in pools.items() if pool is not None and pool.limited}
        usage = self.store.pools.usage(limited, now)
        full = [name for name, pool in limited.items() if pool.is_full(usage[name])]
        if len(full) < len(pools):
            return None
        return "; ".join(self._why_full(limited[name], usage[name]) for name in full)

    def _why_full(self, pool: Pool, usage: Usage) -> str:
        if pool.slots is None or usage.used < pool.slots:
            return f"pool {pool.name} starts no more than {pool.rate}"
        holders = ", ".join(attempt.id for attempt in self.store.pools.holders(pool.name))
        return f"pool {pool.name} is full: {usage.used} of {pool.slots} slots, held by {holders}"

    def living_workers(self, run_id: str) -> set[str]:
        """The living workers that have claimed something of the run, or have it to themselves."""
        return living_among(self.store, self.store.owners.workers_of(run_id))

    def workers(self) -> tuple[Lease, ...]:
        """The workers that are not known to be dead."""
        alive = self.store.leases.holders()
        return tuple(lease for lease in alive if not is_proven_dead(lease.holder))

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
        raise self.unknown(name)

    def unknown(self, name: str) -> NotFound:
        """That there is no flow of a name, and which was probably meant."""
        close = get_close_matches(name, self._known, n=1)
        known = f"known: {', '.join(sorted(self._known)) or 'none'}"
        hint = f"did you mean {close[0]}?" if close else known
        return NotFound(f"there is no flow {name!r}", hint=hint)


def new_run_id(now: datetime) -> str:
    """Sortable by creation, short at its end: `261122-031500-7f3a2k`."""
    return f"{now:%y%m%d-%H%M%S}-" + "".join(secrets.choice(_ALPHABET) for _ in range(6))


def digest(text: str) -> str:
    """sha256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()

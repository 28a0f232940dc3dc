"""KPIs and audit of one installation: what the pure functions need, read from its store."""

from __future__ import annotations

from datetime import datetime

from flows.bootstrap import Ratchet
from flows.core import audit as audits
from flows.core import kpis as figures
from flows.core.alert import AlertStatus
from flows.core.lease_keeper import dead_among

ALERTS = 1000
"""Alerts that were given up, of which an audit tells."""


def kpis(ratchet: Ratchet, *, since: datetime | None, flow: str | None = None) -> figures.Kpis:
    """The KPIs of the runs that ended from `since` on (None: of all). Raises StoreError."""
    store = ratchet.service.store
    events = store.reads.events_by_run(figures.KINDS, since)
    return figures.measure(events, since=since, until=ratchet.clock.now(), flow=flow)


def audit(ratchet: Ratchet) -> tuple[audits.Finding, ...]:
    """Everything that somebody should look at. Raises StoreError."""
    store, now = ratchet.service.store, ratchet.clock.now()
    holders = store.leases.holders(now)
    at_work = store.reads.workers_by_run()
    dead = dead_among({name for names in at_work.values() for name in names}, holders)
    return audits.audit(
        audits.Facts(
            now=now,
            schedules=store.schedules.list(),
            results=store.reads.results(audits.IN_A_ROW),
            flows=frozenset(ratchet.flows.names()),
            newest=store.reads.newest_by_flow(),
            open_runs=store.reads.open_runs(),
            alone=frozenset(run_id for run_id, names in at_work.items() if names <= dead),
            workers=len(ratchet.service.workers()),
            dead_alerts=store.outbox.list(status=AlertStatus.DEAD, limit=ALERTS),
        )
    )

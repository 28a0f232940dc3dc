"""A person's approval: the registry promotes, and those who wait for the model are told."""

from __future__ import annotations

from flows.bootstrap import Ratchet
from flows.core.records import Asset
from registry import LedgerEntry, Registry


def approve(
    ratchet: Ratchet, models: Registry, model: str, version: str | None, *, actor: str, reason: str
) -> LedgerEntry:
    """Make a version that waits champion (None: the only one), and fire the schedules on it.

    Repeated after a crash by the same person, it completes what is missing, and nothing is done
    twice. Raises RegistryError, StoreError.
    """
    now = ratchet.clock.now()
    entry = models.approve(model, version, actor=actor, reason=reason, now=now)
    ratchet.service.store.assets.update(
        Asset(name=f"model:{model}", version=entry.version),
        cause=f"approved: epoch {entry.epoch}",
        now=now,
    )
    return entry

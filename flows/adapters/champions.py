"""Whether somebody else moved a champion's alias: looked up every minute, told once.

A change that a crash left pending is completed.

Only models that have a ledger are looked at; what the ledger says is the champion's status, as the
registry decides.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import datetime

import registry
from flows.core.alert import Alert, champion_changed
from flows.core.clock import Clock
from flows.core.errors import RatchetError
from flows.core.store import Store
from flows.settings import Settings, revealed
from registry import RegistryError
from registry.champion import ChampionStatus, way_out
from registry.locks import sqlite_path

LOOK_ROUND = 60.0
"""Seconds between two looks."""
_log = logging.getLogger(__name__)


class ChampionWatch:
    """Looks for outsiders' changes once a minute, and posts an alert for each, once."""

    def __init__(self, settings: Settings, store: Store, *, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._said: str | None = None  # the last problem, so that it is not said every minute

    def serve(self, stop: threading.Event) -> None:
        """Look until `stop` is set; a registry or a store that is away is waited for."""
        while not stop.is_set():
            try:
                self.tick(self._clock.now())
                self._said = None
            except (RegistryError, RatchetError) as error:
                if self._said != str(error):
                    self._said = str(error)
                    _log.warning("champions cannot be watched: %s", error)
            self._clock.wait(stop, LOOK_ROUND)

    def tick(self, now: datetime) -> list[Alert]:
        """Look once; returns what was not told before. Raises RegistryError, StoreError."""
        seen = champions_seen(self._settings)
        pending = [one.model for one in seen if one.sound and not one.settled]
        if pending:
            with registry.connect(revealed(self._settings.registry)) as models:
                models.reconcile(pending, now=now)
        return self._store.outbox.post(changed_outside(seen, now), now)


def champions_seen(settings: Settings) -> tuple[ChampionStatus, ...]:
    """Every model's champion. Raises RegistryUnreachable when ledger or MLflow cannot be read."""
    config = revealed(settings.registry)
    path = sqlite_path(config.ledger_url)
    if path is not None and not path.exists():
        return ()  # nothing was ever promoted
    with registry.Reader(config) as reader:
        return tuple(reader.champion_seen(model) for model in reader.ledger_models())


def changed_outside(seen: Iterable[ChampionStatus], now: datetime) -> tuple[Alert, ...]:
    """An alert for each champion that MLflow does not show; its key names this very change."""
    return tuple(
        champion_changed(s.model, s.epoch, s.gone or s.outsider, *way_out(s), now)
        for s in seen
        if not s.sound
    )

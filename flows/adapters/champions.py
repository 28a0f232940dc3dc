"""Whether somebody else moved a champion's alias: looked up every minute, told once.

Only models that have a ledger are looked at; what the ledger says is the champion's status, as the
registry decides.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime

import registry
from flows.core.alert import Alert, champion_changed
from flows.core.clock import Clock
from flows.core.errors import RatchetError
from flows.core.store import Store
from flows.settings import Settings, revealed
from registry import RegistryError
from registry.champion import NO_VERSION
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
        return self._store.outbox.post(changed_outside(self._settings, now), now)


def changed_outside(settings: Settings, now: datetime) -> tuple[Alert, ...]:
    """An alert for each model whose alias is not the ledger's; its key names this very change.

    Raises RegistryUnreachable when the ledger or MLflow cannot be read.
    """
    config = revealed(settings.registry)
    path = sqlite_path(config.ledger_url)
    if path is not None and not path.exists():
        return ()  # nothing was ever promoted
    with registry.Reader(config) as reader:
        seen = [reader.champion_seen(model) for model in reader.ledger_models()]
    return tuple(
        champion_changed(
            s.model, s.epoch, s.version, None if s.outsider == NO_VERSION else s.outsider, now
        )
        for s in seen
        if s.outsider is not None
    )

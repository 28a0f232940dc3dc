"""Notices when somebody outside of Ratchet has changed a champion, and leaves an alert."""

from __future__ import annotations

import logging
import threading

from flows.adapters.champions import changed_outside
from flows.bootstrap import Ratchet
from registry import RegistryUnreachable

LOOK = 60.0
"""Seconds between two looks."""

_log = logging.getLogger(__name__)


def watch_champions(ratchet: Ratchet, stop: threading.Event) -> None:
    """Look once a minute until `stop` is set. The same change is told once, whoever looks."""
    silent = False
    while True:
        now = ratchet.clock.now()
        try:
            if alerts := changed_outside(ratchet.settings, now):
                ratchet.service.store.outbox.post(alerts, now)
            silent = False
        except RegistryUnreachable as error:
            if not silent:
                _log.warning("champions are not watched: %s", error)
            silent = True
        if ratchet.clock.wait(stop, LOOK):
            return

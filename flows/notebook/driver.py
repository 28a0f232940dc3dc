"""Starts and drives the runs of one project in this process, beside the cells of a notebook."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from flows.adapters.alerts import tell
from flows.bootstrap import Ratchet
from flows.core.alert import TOLD_OF
from flows.core.engine import Engine
from flows.core.flow import Flow
from flows.core.host import IDLE, Host
from flows.core.identity import Identity
from flows.core.records import Event, Run

STORE_PATIENCE = 20
"""How often, up to 2 s apart, a store that cannot be written is tried again."""


class Driver:
    """The verbs of a session, over a host that carries them out; may be used from any thread."""

    def __init__(
        self, ratchet: Ratchet, executor: str | None = None, *, idle: float = IDLE
    ) -> None:
        self.ratchet = ratchet
        self.executor = executor  # of tasks that do not say; None: the project's setting
        self._telling: list[threading.Thread] = []  # of alerts; the engine's thread's own
        self._host = Host(self._engine, idle=idle, patience=STORE_PATIENCE, at_rest=self._rest)
        self.drive, self.close = self._host.drive, self._host.close
        self.error_of, self.wait_for_change = self._host.error_of, self._host.wait_for_change

    def start(
        self, flow: Flow, overrides: Sequence[str], *, trigger: dict[str, Any], key: str | None
    ) -> Run:
        """Record a run of `flow` and drive it. Raises ConfigError, Refused, StoreError."""
        self.ratchet.flows.add(flow)
        worker = self._host.worker
        run = self.ratchet.start(flow, overrides, trigger=trigger, key=key, held_by=worker)
        self.drive(run.id)
        return run

    def cancel(self, run_id: str, *, by: str) -> None:
        """Ask for a run's end. Raises Refused when it has ended already."""
        self.ratchet.service.cancel(run_id, by=by)
        self.drive(run_id)

    def retry(self, flow: Flow, run_id: str) -> None:
        """Make a run go on from where it was. Raises Refused."""
        self.ratchet.flows.add(flow)
        self.ratchet.service.retry(run_id, held_by=self._host.worker)
        self.drive(run_id)

    # ------------------------------------------------------------------ the engine's thread

    def _engine(self, identity: Identity) -> Engine:
        return self.ratchet.engine(
            executor=self.executor, on_event=self._on_event, identity=identity
        )

    def _rest(self) -> None:
        while self._telling:  # they use the store
            self._telling.pop().join()
        self.ratchet.close()

    def _on_event(self, event: Event) -> None:
        if event.kind in TOLD_OF and event.run_id:
            # Not daemonic, and beside the engine: a slow mail server holds up no run, and a
            # script that is done waits for it.
            telling = threading.Thread(
                target=self._alert, args=(event.run_id,), name="ratchet-alert"
            )
            self._telling.append(telling)
            telling.start()
        self._host.notify()

    def _alert(self, run_id: str) -> None:
        ratchet = self.ratchet
        if warning := tell(ratchet.courier(), run_id, ratchet.clock.now()):
            sys.stderr.write(f"warning: {warning}\n")

"""Drives the runs of one project in a thread of this process, beside the cells.

One engine serves all runs of the session, so that worker processes and an embedded Ray stay
warm from one run to the next; after five idle minutes it is closed, and opened again by the
next run. The store is the truth: a driver only makes things happen, and says that they did.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from flows.adapters.alerts import tell
from flows.bootstrap import Ratchet
from flows.core.alert import TOLD_OF
from flows.core.engine import Engine
from flows.core.errors import LeaseLost, StoreError
from flows.core.flow import Flow
from flows.core.identity import Identity
from flows.core.records import Event, Run

IDLE_SECONDS = 300.0
"""How long an engine without a run is kept warm."""
STORE_PATIENCE = 30
"""How often, a second apart, a store that cannot be written is tried again."""


class Driver:
    """Starts runs and drives them to their end, in a thread of its own."""

    def __init__(
        self, ratchet: Ratchet, executor: str | None = None, *, idle: float = IDLE_SECONDS
    ) -> None:
        self.ratchet = ratchet
        self.executor = executor  # of tasks that do not say; None: the project's setting
        self._idle = idle
        self._changed = threading.Condition()
        self._changes = 0
        self._guard = threading.RLock()  # over what follows, and while this thread may write
        self._asked: set[str] = set()  # to be driven, from the thread's next look on
        self._open: set[str] = set()  # being driven
        self._errors: dict[str, BaseException] = {}  # of runs that are not driven any more: why
        self._telling: list[threading.Thread] = []  # of alerts; the driving thread's own
        self._again = threading.Event()  # the set of runs has changed, or the end has come
        self._engine: Engine | None = None
        self._identity = Identity.mine()  # of the engine that is open, or that comes next
        self._thread: threading.Thread | None = None
        self._closing = False

    # ------------------------------------------------------------------ asked from any thread

    def start(
        self, flow: Flow, overrides: Sequence[str], *, trigger: dict[str, Any], key: str | None
    ) -> Run:
        """Record a run of `flow` and drive it. Raises ConfigError, Refused, StoreError."""
        with self._guard:
            self.ratchet.flows.add(flow)
            run = self.ratchet.start(
                flow, overrides, trigger=trigger, key=key, held_by=str(self._identity)
            )
            self.drive(run.id)
        return run

    def cancel(self, run_id: str, *, by: str) -> None:
        """Ask for a run's end. Raises Refused when it has ended already."""
        with self._guard:
            self.ratchet.service.cancel(run_id, by=by)
            self.drive(run_id)

    def retry(self, flow: Flow, run_id: str) -> None:
        """Make a run go on from where it was. Raises Refused."""
        with self._guard:
            self.ratchet.flows.add(flow)
            self.ratchet.service.retry(run_id, held_by=str(self._identity))
            self.drive(run_id)

    def drive(self, run_id: str) -> None:
        """Drive a run to its end, if that is not under way already."""
        with self._guard:
            self._errors.pop(run_id, None)
            self._asked.add(run_id)
            self._closing = False
            self._interrupt()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="ratchet-driver", daemon=True
                )
                self._thread.start()

    def error_of(self, run_id: str) -> BaseException | None:
        """What has stopped the driving of a run before its end; None: nothing has."""
        return self._errors.get(run_id)

    def wait_for_change(self, seen: int, timeout: float) -> int:
        """Return when something has happened since `seen`, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen, timeout)
            return self._changes

    def close(self, timeout: float | None = None) -> tuple[str, ...]:
        """Stop driving and end what was started here; the runs that are left unfinished.

        These are not cancelled: a retry takes them up again from where they were.
        """
        with self._guard:
            self._closing = True
            self._interrupt()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        with self._guard:
            return tuple(self._open | self._asked)

    # ------------------------------------------------------------------ the thread

    def _serve(self) -> None:
        try:
            while True:
                self._with_an_engine()
                while self._telling:  # they use the store
                    self._telling.pop().join()
                with self._guard:
                    if self._closing or not (self._asked or self._open):
                        self.ratchet.close()
                        self._thread = None
                        return
        except BaseException as error:  # whatever it is, those who wait must hear of it
            with self._guard:
                self._errors |= dict.fromkeys(self._open | self._asked, error)
                self._open.clear()
                self._asked.clear()
                self._thread = None
            self._notify()

    def _with_an_engine(self) -> None:
        """One engine's life: until there is nothing left to do, or its lease is lost."""
        try:
            with self.ratchet.engine(
                executor=self.executor, on_event=self._on_event, identity=self._identity
            ) as engine:
                with self._guard:
                    self._engine = engine
                self._drive_all(engine)
        except LeaseLost:  # the machine slept: a new worker takes over from the one we were
            return
        finally:
            with self._guard:
                self._engine = None
                self._identity = Identity.mine()

    def _drive_all(self, engine: Engine) -> None:
        failures = 0
        while True:
            with self._guard:
                self._again.clear()
                self._open |= self._asked
                self._asked.clear()
                wanted = set(self._open)
            if self._closing or not (wanted or self._again.wait(self._idle)):
                return
            try:
                engine.run_until_ended(wanted, self._again)
            except LeaseLost:
                raise
            except StoreError:  # a full disk, a busy database: what ended is kept until it works
                failures += 1
                if failures > STORE_PATIENCE:
                    raise
                self._again.wait(1.0)
                continue
            failures = 0
            with self._guard:
                self._open -= wanted - engine.runs.keys()
            self._notify()

    def _on_event(self, event: Event) -> None:
        if event.kind in TOLD_OF and event.run_id:
            # Not daemonic, and beside the engine: a slow mail server holds up no run, and a
            # script that is done waits for it.
            telling = threading.Thread(
                target=self._alert, args=(event.run_id,), name="ratchet-alert"
            )
            self._telling.append(telling)
            telling.start()
        self._notify()

    def _alert(self, run_id: str) -> None:
        ratchet = self.ratchet
        if warning := tell(ratchet.courier(), run_id, ratchet.clock.now()):
            sys.stderr.write(f"warning: {warning}\n")

    def _notify(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _interrupt(self) -> None:
        self._again.set()
        if self._engine is not None:
            self._engine.wake()

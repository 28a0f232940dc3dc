"""Hosts an engine in a thread of its own, beside whoever waits: a terminal, a notebook's cells.

One engine drives all runs of its host, so that worker processes and an embedded Ray stay warm
from one run to the next; once it is idle it is closed, and the next run opens another. When its
lease is lost, a new worker goes on. The store is the truth: a host only makes things happen, and
says that they did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from flows.core.engine import Engine
from flows.core.errors import LeaseLost, StoreError
from flows.core.identity import Identity

IDLE = 300.0
"""Seconds for which an engine without a run is kept warm."""


class Host:
    """Drives runs to their end, in a thread of its own; may be used from any thread."""

    def __init__(
        self,
        engine: Callable[[Identity], Engine],
        *,
        idle: float = IDLE,
        patience: int = 0,
        at_rest: Callable[[], None] = lambda: None,
    ) -> None:
        """Its thread starts with the first run.

        Args:
            engine: makes an engine that is not open yet.
            patience: how often, a second apart, a store that cannot be written is tried again.
            at_rest: called by its thread whenever an engine was closed.
        """
        self.guard = threading.RLock()  # while it is held, `worker` stays the same
        self._make = engine
        self._idle = idle
        self._patience = patience
        self._at_rest = at_rest
        self._changed = threading.Condition()
        self._changes = 0
        self._asked: set[str] = set()  # to be driven, from the thread's next look on
        self._open: set[str] = set()  # being driven
        self._errors: dict[str, BaseException] = {}  # of runs that are not driven any more: why
        self._again = threading.Event()  # the set of runs has changed, or the end has come
        self._engine: Engine | None = None
        self._identity = Identity.mine()  # of the engine that is open, or that comes next
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def worker(self) -> str:
        """The name under which it drives; runs that are made for it are its own."""
        return str(self._identity)

    def drive(self, run_id: str) -> None:
        """Drive a run to its end, if that is not under way already."""
        with self.guard:
            self._errors.pop(run_id, None)
            self._asked.add(run_id)
            self._closing = False
            self._interrupt()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="ratchet-engine", daemon=True
                )
                self._thread.start()

    def drives(self, run_id: str) -> bool:
        """Whether a run is being driven, or about to be."""
        with self.guard:
            return run_id in self._open or run_id in self._asked

    def error_of(self, run_id: str) -> BaseException | None:
        """What has stopped the driving of a run before its end; None: nothing has."""
        return self._errors.get(run_id)

    def wake(self) -> None:
        """Look at once at what is to be done."""
        if (engine := self._engine) is not None:
            engine.wake()

    def notify(self) -> None:
        """Tell those who wait that something has happened."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait_for_change(self, seen: int, timeout: float) -> int:
        """Return when something has happened since `seen`, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen, timeout)
            return self._changes

    def close(self, timeout: float | None = None) -> tuple[str, ...]:
        """Stop driving and end what was started here; the runs that are left unfinished.

        These are not cancelled: a retry takes them up again from where they were.
        """
        with self.guard:
            self._closing = True
            self._interrupt()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        with self.guard:
            return tuple(self._open | self._asked)

    # ------------------------------------------------------------------ the thread

    def _serve(self) -> None:
        try:
            while True:
                self._with_an_engine()
                self._at_rest()
                with self.guard:
                    if self._closing or not (self._asked or self._open):
                        self._thread = None
                        return
        except BaseException as error:  # whatever it is, those who wait must hear of it
            with self.guard:
                self._errors |= dict.fromkeys(self._open | self._asked, error)
                self._open.clear()
                self._asked.clear()
                self._thread = None
            self.notify()

    def _with_an_engine(self) -> None:
        """One engine's life: until there is nothing left to do, or its lease is lost."""
        try:
            with self._make(self._identity) as engine:
                with self.guard:
                    self._engine = engine
                self._drive_all(engine)
        except LeaseLost:  # the machine slept: a new worker takes over from the one we were
            return
        finally:
            with self.guard:
                self._engine = None
                self._identity = Identity.mine()

    def _drive_all(self, engine: Engine) -> None:
        failures = 0
        while True:
            with self.guard:
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
                if failures > self._patience:
                    raise
                self._again.wait(1.0)
                continue
            failures = 0
            with self.guard:
                self._open -= wanted - engine.runs.keys()
            self.notify()

    def _interrupt(self) -> None:
        self._again.set()
        self.wake()

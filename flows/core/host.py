"""Hosts an engine: beside whoever waits (a terminal, a notebook's cells), or to serve everybody.

One engine drives all runs of its host, so that worker processes and an embedded Ray stay warm
from one run to the next; once it is idle it is closed, and the next run opens another. The store
is the truth: a host only makes things happen, and says that they did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from flows.core.engine import Engine
from flows.core.errors import Refused
from flows.core.identity import Identity

IDLE = 300.0
"""Seconds for which an engine without a run is kept warm."""


class Host:
    """Drives runs to their end in a thread of its own, or serves; may be used from any thread."""

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
            patience: how often in a row, up to 2 s apart, a store that fails is tried again.
            at_rest: called by its thread whenever an engine was closed.
        """
        self._make = engine
        self._idle = idle
        self._patience = patience
        self._at_rest = at_rest
        self._changed = threading.Condition()
        self._changes = 0
        self._lock = threading.RLock()  # over the next three, and the thread's beginning and end
        self._asked: set[str] = set()  # to be driven, from the thread's next look on
        self._open: set[str] = set()  # being driven
        self._errors: dict[str, BaseException] = {}  # of runs that are not driven any more: why
        self._again = threading.Event()  # the set of runs has changed, or the end has come
        self._engine: Engine | None = None
        self._opened = threading.Event()  # for the first time
        self._next = Identity.mine()  # of the engine that comes next
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def engine(self) -> Engine | None:
        """The engine that is open."""
        return self._engine

    @property
    def worker(self) -> str:
        """The name under which it drives; runs that are made for it are its own.

        When the engine changes meanwhile, `drive` takes them over, as from a dead worker.
        """
        return engine.worker if (engine := self._engine) is not None else str(self._next)

    def wake(self) -> None:
        """Look at once at what is to be done."""
        if (engine := self._engine) is not None:
            engine.wake()

    # ------------------------------------------------------------------ everybody's runs

    def serve(self, stop: threading.Event, *, drain: float, leaves: bool = True) -> None:
        """Drive what there is until `stop` is set, and return once it has drained.

        `drain` and `leaves` as `Engine.serve` has them. Raises StoreError.
        """
        with self._an_engine() as engine:
            engine.serve(stop, drain=drain, leaves=leaves)

    def has_looked(self, within: float) -> bool:
        """Whether it has looked for work, `within` seconds at the latest."""
        self._opened.wait(within)
        return (engine := self._engine) is not None and engine.looked.wait(within)

    def hurry(self) -> None:
        """End the drain now."""
        if (engine := self._engine) is not None:
            engine.hurry()

    def running(self) -> list[str]:
        """The attempts that it has given to its executors."""
        return list(engine.running.live) if (engine := self._engine) is not None else []

    # ------------------------------------------------------------------ runs of one's own

    def drive(self, run_id: str) -> None:
        """Drive a run to its end, if that is not under way already."""
        with self._lock:
            self._errors.pop(run_id, None)
            self._asked.add(run_id)
            self._closing = False
            self._interrupt()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._drive, name="ratchet-engine", daemon=True
                )
                self._thread.start()

    def drives(self, run_id: str) -> bool:
        """Whether a run is being driven, or about to be."""
        with self._lock:
            return run_id in self._open or run_id in self._asked

    def error_of(self, run_id: str) -> BaseException | None:
        """What has stopped the driving of a run before its end; None: nothing has."""
        return self._errors.get(run_id)

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
        with self._lock:
            self._closing = True
            self._interrupt()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        with self._lock:
            return tuple(self._open | self._asked)

    # ------------------------------------------------------------------ inside

    @contextmanager
    def _an_engine(self) -> Iterator[Engine]:
        with self._make(self._next) as engine:
            self._engine = engine
            self._opened.set()
            try:
                yield engine
            finally:
                self._engine, self._next = None, Identity.mine()

    def _drive(self) -> None:
        try:
            while True:
                with self._an_engine() as engine:
                    self._drive_all(engine)
                self._at_rest()
                with self._lock:
                    if self._closing or not (self._asked or self._open):
                        self._thread = None
                        return
        except BaseException as error:  # whatever it is, those who wait must hear of it
            with self._lock:
                self._errors |= dict.fromkeys(self._open | self._asked, error)
                self._open.clear()
                self._asked.clear()
                self._thread = None
            self.notify()

    def _drive_all(self, engine: Engine) -> None:
        """Until there is nothing left to do."""
        while True:
            with self._lock:
                self._again.clear()
                self._open |= self._asked
                self._asked.clear()
                wanted = set(self._open)
            if self._closing or not (wanted or self._again.wait(self._idle)):
                return
            with suppress(Refused):  # of one run, whose waiters are told; the others go on
                engine.run_until_ended(wanted, self._again, patience=self._patience)
            with self._lock:
                self._errors |= engine.refused
                self._open -= wanted - engine.runs.keys()
            self.notify()

    def _interrupt(self) -> None:
        self._again.set()
        self.wake()

"""Runs attempts in threads of this process: for work that waits, or that releases the GIL."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from flows.core.errors import ExecutorError
from flows.core.executors.output import Output
from flows.core.executors.perform import describe, perform
from flows.core.executors.protocol import Deliver, Outcome, OutcomeKind, Work


class ThreadExecutor:
    """A fixed number of daemon threads, started as work comes, over one queue.

    Python cannot end a thread: `stop` takes back what still waits in the queue and leaves
    what runs alone, and `close` returns only when the running work has ended by itself.
    """

    queues = True
    kills = False
    survives = False
    capacity = None  # slots are all that limits it

    def __init__(self, slots: int = 8, *, name: str = "threads") -> None:
        self.slots = slots
        self.name = name
        self._deliver: Deliver | None = None
        self._output = Output()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._waiting: dict[str, Work] = {}
        self._running: set[str] = set()
        self._threads: list[threading.Thread] = []

    def open(self, deliver: Deliver) -> None:
        """Take the function that receives outcomes."""
        self._deliver = deliver

    def warm(self) -> None:
        """Do nothing: threads are there at once."""

    def start(self, work: Work) -> None:
        """Queue `work`, unless it is already here."""
        with self._lock:
            if self._deliver is None:
                raise ExecutorError("the threads executor is not open")
            if work.attempt_id in self._waiting or work.attempt_id in self._running:
                return
            self._waiting[work.attempt_id] = work
            if len(self._threads) < self.slots:
                self._add_thread(self._deliver)
        self._queue.put(work.attempt_id)

    def began(self, attempt_id: str) -> bool:
        """Yes, or within moments: no more than `slots` are started."""
        return True

    def stop(self, attempt_id: str, grace: float) -> None:
        """Take `attempt_id` back if it has not begun; `grace` is of no use to a thread."""
        with self._lock:
            deliver = self._deliver
            found = self._waiting.pop(attempt_id, None)
        if found and deliver:
            deliver(_never_begun(attempt_id))

    def close(self) -> None:
        """Take back what has not begun, and return when what runs has ended."""
        with self._lock:
            deliver, self._deliver = self._deliver, None
            waiting, self._waiting = list(self._waiting), {}
            threads, self._threads = self._threads, []
        for attempt_id in waiting:
            if deliver:
                deliver(_never_begun(attempt_id))
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _add_thread(self, deliver: Deliver) -> None:
        name = f"ratchet-task-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(deliver,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, deliver: Deliver) -> None:
        while (attempt_id := self._queue.get()) is not None:
            with self._lock:
                work = self._waiting.pop(attempt_id, None)
                if work is None:  # taken back by `stop`
                    continue
                self._running.add(attempt_id)
            outcome = self._perform(work)
            with self._lock:
                self._running.discard(attempt_id)
            deliver(outcome)

    def _perform(self, work: Work) -> Outcome:
        try:
            with self._output.into(work.log):
                return perform(work)
        except BaseException as error:  # nothing that a task raises may end this thread
            return Outcome(
                attempt_id=work.attempt_id, kind=OutcomeKind.FAILED, error=describe(error)
            )


def _never_begun(attempt_id: str) -> Outcome:
    return Outcome(
        attempt_id=attempt_id, kind=OutcomeKind.STOPPED, reason="stopped before it began"
    )

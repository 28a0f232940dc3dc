"""Runs attempts in warm worker processes that can be ended.

Workers share nothing with this process: code is imported by name, values travel as JSON.
One thread does all that waits: it starts workers, receives outcomes, and ends by force what
did not end in time. `start` hands work to an idle worker itself, which saves a hand-over.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress

from flows.core.errors import ExecutorError, NotFound, RatchetError
from flows.core.executors.perform import describe, outcome_from_text, work_to_text
from flows.core.executors.process_main import frame
from flows.core.executors.protocol import Deliver, Outcome, OutcomeKind, Work
from flows.core.executors.worker_process import WorkerProcess


class ProcessExecutor:
    """Warm worker processes, started as work comes and replaced when they die.

    - An attempt is delivered as STOPPED or LOST only after its worker has been waited for and
      its process group killed. A task's child that opens a session of its own escapes this.
    - A stopped task sees `perform.Terminated` raised where it is (SIGTERM), so that `finally`
      blocks run; then comes SIGKILL. A failure after that is delivered as STOPPED.
    - Workers end when this process ends, even by SIGKILL.
    - A task that lives in `__main__` (a script, a notebook) cannot be imported by a worker; it
      fails for good, with a hint.
    """

    name = "processes"
    queues = True
    kills = True
    survives = False
    capacity = None  # slots are all that limits it

    def __init__(self, slots: int = 2, *, closing_grace: float = 5.0) -> None:
        self.slots = slots
        self.closing_grace = closing_grace  # seconds between asking and force in `close`
        self._pool: _Pool | None = None

    def open(self, deliver: Deliver) -> None:
        """Take the function that receives outcomes; no worker is started yet."""
        self._pool = _Pool(self.slots, deliver)

    def warm(self) -> None:
        """Start one worker, if there is none."""
        if self._pool is None:
            raise ExecutorError("the processes executor is not open")
        self._pool.warm()

    def start(self, work: Work) -> None:
        """Hand `work` to a worker, or queue it; nothing happens if it is already here."""
        if self._pool is None:
            raise ExecutorError("the processes executor is not open")
        self._pool.start(work)

    def began(self, attempt_id: str) -> bool:
        """Yes, or within moments: work with a timeout is never started ahead."""
        return True

    def stop(self, attempt_id: str, grace: float) -> None:
        """Take `attempt_id` back, or end it: SIGTERM, and SIGKILL after `grace` seconds."""
        if self._pool is not None:
            self._pool.stop(attempt_id, grace)

    def close(self) -> None:
        """End all work and all workers; returns when they are gone."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close(self.closing_grace)


class _Pool:
    """The workers, what they work on, and the thread that attends to them."""

    def __init__(self, slots: int, deliver: Deliver) -> None:
        self._slots = slots
        self._deliver = deliver
        self._lock = threading.Lock()  # held to change any of the next five
        self._closing = False
        self._warming = False
        self._queue: dict[str, bytes] = {}  # attempt id -> framed work, oldest first
        self._running: dict[str, WorkerProcess] = {}
        self._idle: list[WorkerProcess] = []  # the one used last comes last
        self._workers: set[WorkerProcess] = set()  # all; changed by the thread alone
        self._selector = selectors.DefaultSelector()  # used by the thread alone
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._attend, name="ratchet-workers", daemon=True)
        self._thread.start()

    def start(self, work: Work) -> None:
        unfit = _why_unfit(work.function)
        if unfit is not None:
            self._deliver(_failed(work.attempt_id, unfit))
            return
        data = frame(work_to_text(work))
        with self._lock:
            if self._closing:
                raise ExecutorError("the processes executor is closed")
            if work.attempt_id in self._queue or work.attempt_id in self._running:
                return
            self._queue[work.attempt_id] = data
            worker = self._give_work()
            content = not worker.has_unsent if worker else len(self._workers) >= self._slots
        if not content:
            self._wake_up()

    def warm(self) -> None:
        self._warming = True
        self._wake_up()

    def stop(self, attempt_id: str, grace: float) -> None:
        with self._lock:
            taken_back = self._queue.pop(attempt_id, None) is not None
            if attempt_id in self._running:
                self._running[attempt_id].terminate(grace, "ended on request")
        if taken_back:
            self._deliver(_stopped(attempt_id, "stopped before it began"))
        self._wake_up()

    def close(self, grace: float) -> None:
        with self._lock:
            self._closing = True
            waiting = list(self._queue)
            self._queue.clear()
            for worker in self._workers:
                self._send_home(worker, grace)
        for attempt_id in waiting:
            self._deliver(_stopped(attempt_id, "stopped before it began"))
        self._wake_up()
        self._thread.join()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _give_work(self) -> WorkerProcess | None:
        """Hand the oldest work to an idle worker, if there are both; with the lock held."""
        while self._queue and self._idle:
            worker = self._idle.pop()
            attempt_id = next(iter(self._queue))
            if worker.send(self._queue[attempt_id]):
                del self._queue[attempt_id]
                worker.attempt_id = attempt_id
                self._running[attempt_id] = worker
                return worker
        return None

    def _send_home(self, worker: WorkerProcess, grace: float) -> None:
        if worker.attempt_id is None:
            worker.dismiss(grace)
        else:
            worker.terminate(grace, "ended because its executor was closed")

    def _wake_up(self) -> None:
        with suppress(BlockingIOError):  # it will wake up anyway
            self._wake.send(b".")

    # From here on: the thread.

    def _attend(self) -> None:
        while not (self._closing and not self._workers):
            for key, _ in self._selector.select(self._patience()):
                if isinstance(key.data, WorkerProcess):
                    self._hear(key.data)
                else:
                    self._woken.recv(1 << 12)
            self._hire()
            self._push()

    def _patience(self) -> float | None:
        """Seconds until the next worker is to be ended by force; None: no limit."""
        ends = [w.kill_at for w in self._workers if w.kill_at is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _hear(self, worker: WorkerProcess) -> None:
        if worker not in self._workers:  # buried a moment ago
            return
        try:
            messages, over = worker.receive()
            for text in messages:
                self._finished(worker, outcome_from_text(text))
        except (ValueError, RatchetError):  # a task wrote into the socket
            over = True
        if over:
            self._bury(worker)

    def _finished(self, worker: WorkerProcess, outcome: Outcome) -> None:
        with self._lock:
            if worker.stopping:
                worker.kill()  # never used again: the signal may still be under way
                if outcome.kind is OutcomeKind.FAILED:
                    return  # it failed because it was told to end: `_bury` delivers
            self._running.pop(outcome.attempt_id, None)
            worker.attempt_id = None
            if not worker.stopping:
                self._idle.append(worker)
                self._give_work()
        self._deliver(outcome)

    def _bury(self, worker: WorkerProcess) -> None:
        self._selector.unregister(worker.channel)
        if worker.pidfd is not None:
            self._selector.unregister(worker.pidfd)
        how = worker.bury()
        with self._lock:
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            attempt_id = worker.attempt_id
            if attempt_id is None:
                return
            del self._running[attempt_id]
        if worker.stopping:
            self._deliver(_stopped(attempt_id, worker.stopping))
        else:
            reason = f"its worker process died ({how})"
            self._deliver(Outcome(attempt_id=attempt_id, kind=OutcomeKind.LOST, reason=reason))

    def _hire(self) -> None:
        """Start as many workers as there is work waiting and room; one, when told to warm up."""
        while (self._queue or (self._warming and not self._workers and not self._closing)) and len(
            self._workers
        ) < self._slots:
            self._warming = False
            try:
                worker = WorkerProcess()
            except OSError as error:
                self._cannot_hire(error)
                return
            self._selector.register(worker.channel, selectors.EVENT_READ, worker)
            if worker.pidfd is not None:
                self._selector.register(worker.pidfd, selectors.EVENT_READ, worker)
            with self._lock:
                self._workers.add(worker)
                self._idle.append(worker)
                self._give_work()
                if self._closing:
                    self._send_home(worker, 0)

    def _cannot_hire(self, error: OSError) -> None:
        if self._workers:  # those that are there will do it
            return
        failure = ExecutorError(f"no worker process can be started: {error}")
        with self._lock:
            waiting = list(self._queue)
            self._queue.clear()
        for attempt_id in waiting:
            self._deliver(_failed(attempt_id, failure))

    def _push(self) -> None:
        """Kill what is overdue; send on what did not fit into a socket."""
        now = time.monotonic()
        with self._lock:
            for worker in self._workers:
                if worker.kill_at is not None and worker.kill_at <= now:
                    worker.kill()
                worker.flush()
                mask = selectors.EVENT_READ | selectors.EVENT_WRITE * worker.has_unsent
                if self._selector.get_key(worker.channel).events != mask:
                    self._selector.modify(worker.channel, mask, worker)


def _why_unfit(function: str) -> RatchetError | None:
    module, _, name = function.partition(":")
    if module == "__main__":
        return NotFound(
            f"the task {name} is defined in a script or notebook, where worker processes "
            "cannot find it",
            hint="move it into a module, or run it with the threads or the inline executor",
        )
    return None


def _failed(attempt_id: str, error: RatchetError) -> Outcome:
    return Outcome(attempt_id=attempt_id, kind=OutcomeKind.FAILED, error=describe(error))


def _stopped(attempt_id: str, reason: str) -> Outcome:
    return Outcome(attempt_id=attempt_id, kind=OutcomeKind.STOPPED, reason=reason)

"""What `start` gives back: one run, to be watched, waited for, asked and ended."""

from __future__ import annotations

import difflib
import time
from contextlib import suppress
from functools import cached_property
from typing import Any, NoReturn, get_type_hints

import registry
from flows.adapters.attempt_log import PIECE, AttemptLog
from flows.bootstrap import Ratchet
from flows.core import values
from flows.core.errors import NotFound, RatchetError, Refused
from flows.core.flow import Flow
from flows.core.graph import node_key
from flows.core.records import Attempt, Event, Run, RunStatus, TaskRun, TaskStatus
from flows.core.store.reads import RunDetail
from flows.documents import between, verdict_of
from flows.notebook.card import card
from flows.notebook.driver import Driver
from flows.notebook.view import View, view_of
from flows.settings import revealed
from flows.wording import TaskView, duration, tasks_of, whoami
from registry import Card, ModelEvidence, Verdict

LOOK_SECONDS = 1.0
"""How often a wait looks at the store, in case another process moves the run."""


class RunFailed(RatchetError):
    """The run did not succeed; raised by `raise_for_status` alone."""


class LogText(str):
    """Text that a cell shows as it is, line by line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


class RunHandle:
    """One run of a flow. What it shows is read from the store each time."""

    def __init__(self, run_id: str, flow: Flow, driver: Driver) -> None:
        self.id = run_id
        self.flow = flow
        self._driver = driver

    # ------------------------------------------------------------------ how it stands

    @property
    def status(self) -> RunStatus:
        """queued, running, succeeded, halted, failed, cancelled, skipped ..."""
        return self._run().status

    @property
    def reason(self) -> str | None:
        """Why it ended as it did, in one sentence."""
        return self._run().reason

    @property
    def tasks(self) -> dict[str, TaskView]:
        """Its tasks by key, in the order of the flow."""
        return tasks_of(self.detail(), self._driver.ratchet.clock.now())

    def events(self, after: int = 0) -> tuple[Event, ...]:
        """What happened to it, oldest first, from the event after the id `after` on."""
        found: list[Event] = []
        while more := self._driver.ratchet.service.events(run_id=self.id, after=after):
            found += more
            after = more[-1].id
        return tuple(found)

    def detail(self) -> RunDetail:
        """The run with its graph, config, tasks and attempts, as the store has them."""
        return self._driver.ratchet.service.show(self.id)

    # ------------------------------------------------------------------ what came of it

    def result(self, task: str) -> Any:
        """What a task returned, as the type that it declares.

        Raises:
            NotFound: the flow has no such task.
            Refused: it has not returned anything (yet), and why.
        """
        found = self._task(task)
        if found.status is not TaskStatus.SUCCEEDED or found.value is None:
            self._refuse_result(found)
        return values.loads(found.value, self._returns(task))

    @property
    def verdict(self) -> Verdict | None:
        """The gate's verdict; None when the run ended without one (`reason` says why).

        Raises:
            Refused: there is none yet.
        """
        detail = self.detail()
        found = verdict_of(detail)
        if found is None and not detail.run.status.ended:
            raise Refused(
                f"run {self.id} is still {detail.run.status}, without a verdict", hint="run.wait()"
            )
        return found

    @property
    def card(self) -> Card | None:
        """The verdict with everything that it rests on; None when the run ended without one.

        Raises:
            Refused: there is none yet.
        """
        found = self.verdict
        if found is None:
            return None
        with registry.connect(revealed(self._driver.ratchet.settings.registry)) as connected:
            return connected.card(found)

    @property
    def evidence(self) -> ModelEvidence | None:
        """Which challengers of the run's model are compared now, and how far they are.

        None when the run ended without a verdict.

        Raises:
            Refused: there is none yet.
        """
        found = self.verdict
        if found is None:
            return None
        ratchet = self._driver.ratchet
        with registry.connect(revealed(ratchet.settings.registry)) as connected:
            return connected.evidence(found.model, now=ratchet.clock.now())

    def logs(self, task: str, attempt: int | None = None) -> LogText:
        """What an attempt of a task (by default the newest) has printed and logged so far.

        Raises:
            NotFound: there is no such task, or no such attempt of it.
        """
        self._task(task)
        attempts = [a for a in self.detail().attempts if a.key == task]
        if not attempts:
            return LogText("")
        chosen = [a for a in attempts if attempt in (None, a.number)]
        if not chosen:
            raise NotFound(
                f"{task} has no attempt {attempt}", hint=f"it has 1 to {attempts[-1].number}"
            )
        return log_of(chosen[-1], self._driver.ratchet)

    # ------------------------------------------------------------------ what can be done

    def wait(self, timeout: float | None = None) -> RunHandle:
        """Return when the run has ended, however it did.

        An interrupt (Ctrl-C, the stop button) cancels the run, waits until nothing of it is
        alive, and goes on as KeyboardInterrupt; a second one leaves at once.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds, and goes on.
            StoreError: the state store cannot be written, so nothing moves.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self.status.ended:
            self._driver.drive(self.id)
        self.view.attend()
        interrupted = False
        while True:
            try:
                self._until_ended(deadline)
                break
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                self._cancel_for_interrupt()
        self.view.refresh()
        if interrupted:
            raise KeyboardInterrupt
        return self

    def raise_for_status(self) -> RunHandle:
        """The handle itself. Raises RunFailed when the run failed, halted or was cancelled."""
        run = self._run()
        if not run.status.ended:
            raise Refused(f"run {self.id} is still {run.status}", hint="run.wait()")
        if run.status in (RunStatus.FAILED, RunStatus.HALTED, RunStatus.CANCELLED):
            raise RunFailed(f"run {self.id} {_ending(run)}", hint="run.tasks")
        return self

    def cancel(self) -> RunHandle:
        """Ask for the run's end; it says cancelled once nothing of it is alive.

        Raises:
            Refused: it has ended already.
        """
        self._driver.cancel(self.id, by=whoami())
        return self

    def retry(self) -> RunHandle:
        """Make the run go on from where it was; finished tasks are not run again.

        Raises:
            Refused: it succeeded or was skipped, or a worker is at it.
        """
        self._driver.retry(self.flow, self.id)
        self.show()
        return self

    # ------------------------------------------------------------------ how it looks

    @cached_property
    def view(self) -> View:
        """Where its progress is shown: in cells, or as lines."""
        return view_of(self)

    def show(self) -> None:
        """Show its progress here, and keep that up to date until it ends."""
        self.view.show()

    def follow(self, seen: int) -> int:
        """Return when something may have changed since `seen`; never later than in a second."""
        return self._driver.wait_for_change(seen, LOOK_SECONDS)

    def seq(self) -> int:
        """The number of its last event."""
        return self._run().seq

    def snapshot(self) -> tuple[dict[str, str], Run]:
        """The run as IPython displays it, and the state that this shows."""
        detail = self.detail()
        now = self._driver.ratchet.clock.now()
        html = card(detail, now, verdict_of(detail), self._driver.error_of(self.id))
        return {"text/plain": _line(detail.run), "text/html": html}, detail.run

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.snapshot()[0]

    def _repr_html_(self) -> str:
        return self.snapshot()[0]["text/html"]

    def _ipython_display_(self) -> None:
        self.view.show_again()

    def __repr__(self) -> str:
        return _line(self._run())

    # ------------------------------------------------------------------ inside

    def _run(self) -> Run:
        return self._driver.ratchet.service.find(self.id)

    def _until_ended(self, deadline: float | None) -> None:
        seen = -1
        while not self.status.ended:
            if (error := self._driver.error_of(self.id)) is not None:
                raise error
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"run {self.id} is still {self.status}; run.cancel() ends it")
            left = LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            seen = self._driver.wait_for_change(seen, max(0.0, min(LOOK_SECONDS, left)))
            self.view.refresh()

    def _cancel_for_interrupt(self) -> None:
        self.view.say(f"interrupted: cancelling run {self.id} (once more: leave it running)")
        with suppress(Refused):  # it has just ended by itself
            self.cancel()

    def _task(self, key: str) -> TaskRun:
        tasks = {task.key: task for task in self.detail().tasks}
        if key not in tasks:
            nearest = difflib.get_close_matches(key, tasks, n=1) or list(tasks)
            raise NotFound(
                f"run {self.id} has no task {key!r}", hint=f"it has {', '.join(nearest)}"
            )
        return tasks[key]

    def _returns(self, key: str) -> Any:
        """The annotation of what a task returns."""
        task, node = self.flow.tasks.get(node_key(key)), self.detail().graph.node(key)
        if task is None:  # the flow has changed since
            return Any
        hint = get_type_hints(task.function).get("return", Any)
        return list[hint] if node.over and key == node.key else hint  # type: ignore[valid-type]

    def _refuse_result(self, task: TaskRun) -> NoReturn:
        if not task.status.ended:
            raise Refused(f"{task.key} is still {task.status}", hint="run.wait()")
        why = f": {task.reason}" if task.reason else ""
        raise Refused(
            f"{task.key} returned nothing: it was {task.status}{why}",
            hint=f'run.logs("{task.key}")' if task.attempt else "run.tasks",
        )


def log_of(attempt: Attempt, ratchet: Ratchet) -> LogText:
    """The attempt's log so far; empty when it has printed nothing."""
    log = AttemptLog(attempt, ratchet.logs, ratchet.settings.artifacts)
    left_out = log.leave_out(characters=PIECE)
    before = f"... {left_out:,} bytes before: ratchet logs {attempt.run_id} {attempt.key}\n"
    return LogText((before if left_out else "") + log.read())


def _line(run: Run) -> str:
    return f"<run {run.id} of {run.flow}: {_ending(run)}>"


def _ending(run: Run) -> str:
    reason = f": {run.reason}" if run.reason else ""
    took = duration(between(run.started_at, run.ended_at))
    return f"{run.status}{f' after {took}' if took else ''}{reason}"

"""Where the scheduler learns of new data: the seam that a feature store fills.

A storage may hang. `BoundedSource` asks in threads of its own and waits for an answer only so
long, so that one view that does not answer stops no schedule but its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from flows.core.clock import Clock
from flows.core.errors import DataUnavailable
from flows.core.schedule import DataState, NewData

LIMIT = 2.0
"""Seconds that an answer is waited for."""

IMPATIENT = 0.05
"""The same, while another view does not answer or this one has not answered before."""

THREADS = 16
"""Questions that may be without an answer; no more are asked until one has come."""

STALE = timedelta(seconds=60)
"""An answer that nobody came for in this time is asked for anew."""


class Watch(Protocol):
    """A watch that is kept until it is closed."""

    def close(self) -> None:
        """Stop watching; nothing is called after this has returned."""

    def hangs(self) -> bool:
        """Whether what it watches does not answer it, so that nobody is told of a commit."""


class DataSource(Protocol):
    """What the scheduler needs to know of data.

    Its errors are RatchetErrors: one with ``permanent = False`` (the store cannot be reached
    just now) is tried again later, any other disables the schedule.
    """

    def check(self, view: str) -> None:
        """Raise NotFound, with the nearest name, when there is no such view."""

    def state(self, trigger: NewData, since: int | None) -> DataState:
        """What the trigger's view has beyond version `since`; None: everything that is in it."""

    def watch(self, views: Iterable[str], changed: Callable[[str], None]) -> Watch:
        """Call `changed(view)`, from a thread of its own, soon after each commit to a view.

        - Once for each view at the start, so that no commit before it is missed.
        - Perhaps when nothing has changed, never too rarely.
        """


@dataclass(kw_only=True)
class _Question:
    """Something that was asked about a view, and the answer once it is there."""

    view: str
    asked_at: datetime
    ended: threading.Event = field(default_factory=threading.Event)
    ended_at: datetime | None = None
    answer: Any = None
    error: Exception | None = None


class BoundedSource:
    """A source of data whose answers are waited for only so long. Any thread may ask."""

    def __init__(self, source: DataSource, *, clock: Clock, limit: float = LIMIT) -> None:
        self._source = source
        self._clock = clock
        self._limit = limit
        self._guard = threading.Lock()
        self._questions: dict[object, _Question] = {}
        self._changed: Callable[[str], None] = lambda _: None

    def check(self, view: str) -> None:
        """As the source does. Raises DataUnavailable when it does not answer in time."""
        self._ask(view, view, partial(self._source.check, view))

    def state(self, trigger: NewData, since: int | None) -> DataState:
        """As the source does. Raises DataUnavailable, which says what does not answer in time.

        The answer that comes later is kept for the next call, and told as a change of the view.
        """
        question = partial(self._source.state, trigger, since)
        answer: DataState = self._ask((trigger, since), trigger.view, question)
        return answer

    def watch(self, views: Iterable[str], changed: Callable[[str], None]) -> Watch:
        """As the source does."""
        self._changed = changed
        return self._source.watch(views, changed)

    def _ask(self, key: object, view: str, ask: Callable[[], Any]) -> Any:
        question, patience = self._question(key, view, ask)
        if not self._clock.wait(question.ended, patience):
            waited = round((self._clock.now() - question.asked_at).total_seconds())
            raise DataUnavailable(
                f"view {view} has not answered for {waited} s", hint="is its storage up?"
            )
        with self._guard:
            self._questions.pop(key, None)
        if question.error is not None:
            raise question.error
        return question.answer

    def _question(self, key: object, view: str, ask: Callable[[], Any]) -> tuple[_Question, float]:
        """A question that was asked, perhaps before, and how long to wait for its answer."""
        now = self._clock.now()
        with self._guard:
            self._questions = {
                k: q
                for k, q in self._questions.items()
                if q.ended_at is None or now - q.ended_at < STALE
            }
            if (before := self._questions.get(key)) is not None:
                return before, min(IMPATIENT, self._limit)
            views = sorted(q.view for q in self._questions.values() if q.ended_at is None)
            if len(views) >= THREADS:
                shown = ", ".join(dict.fromkeys(views[:5]))
                raise DataUnavailable(f"{len(views)} questions are without an answer: {shown}, ...")
            question = self._questions[key] = _Question(view=view, asked_at=now)
        threading.Thread(
            target=self._answer, args=(question, ask), name=f"ratchet-{view}", daemon=True
        ).start()
        return question, min(IMPATIENT, self._limit) if views else self._limit

    def _answer(self, question: _Question, ask: Callable[[], Any]) -> None:
        try:
            question.answer = ask()
        except Exception as error:  # raised where it is waited for
            question.error = error
        question.ended_at = self._clock.now()
        question.ended.set()
        if (question.ended_at - question.asked_at).total_seconds() >= self._limit:
            self._changed(question.view)  # whoever asked has gone away meanwhile

"""Where the scheduler learns of new data: the seam that a feature store fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol

from flows.core.schedule import DataState, Late


class Watch(Protocol):
    """A watch that is kept until it is closed."""

    def close(self) -> None:
        """Stop watching; nothing is called after this has returned."""


class DataSource(Protocol):
    """What the scheduler needs to know of data.

    Its errors are RatchetErrors: one with ``permanent = False`` (the store cannot be reached
    just now) is tried again later, any other disables the schedule.
    """

    def check(self, view: str) -> None:
        """Raise NotFound, with the nearest name, when there is no such view."""

    def state(
        self,
        view: str,
        since: int | None,
        *,
        late: Late = Late.COUNT,
        lateness: timedelta | None = None,
    ) -> DataState:
        """What the view has beyond version `since`; None: everything that is in it."""

    def watch(self, views: Iterable[str], changed: Callable[[str], None]) -> Watch:
        """Call `changed(view)`, from a thread of its own, soon after each commit to a view.

        - Once for each view at the start, so that no commit before it is missed.
        - Perhaps when nothing has changed, never too rarely.
        """

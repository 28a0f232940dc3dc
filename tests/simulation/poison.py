"""Runs whose data, names and messages are as bad as they come.

What they hold may fail the run that holds it, with a reason, and touch nobody else's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from flows.core.context import noticed, produced, spent
from flows.core.errors import GiveUp, Halt, Skip
from flows.core.executors.perform import perform
from flows.core.executors.protocol import Work
from flows.core.flow import Flow, flow, task, when
from flows.core.records import Outcome
from flows.core.retry import Retry

NOT_UTF8, NUL, ENDLESS = "caf\udce9.csv", "a\x00b", "x" * 300_000
ONCE = Retry(attempts=2, delay=1.0, lost=1000)


@task(retry=ONCE)
def spoiled() -> object: ...


@task(retry=ONCE, pool="data")
def eats(what: object) -> object: ...


@flow
def poisoned() -> None:
    """One task comes to a bad end, and another may have to live with what it has left."""
    eats(spoiled())


@task(retry=ONCE)
def flags() -> dict[str, bool]: ...  # type: ignore[empty-body]


@task(retry=ONCE)
def lists() -> dict[str, list[int]]: ...  # type: ignore[empty-body]


@task(retry=ONCE)
def one(what: int) -> int: ...  # type: ignore[empty-body]


@flow
def without_a_flag() -> None:
    """It asks for a key that is not there."""
    when(flags()["go"]).then(one(1))


@flow
def without_a_list() -> None:
    """It is mapped over what is not there."""
    one.map(lists()["xs"])


@task(retry=ONCE, executor="nowhere")
def homeless() -> int: ...  # type: ignore[empty-body]


@flow
def without_an_executor() -> None:
    """Nobody has its executor."""
    homeless()


# ---------------------------------------------------------------------- what they do


class Mute(Exception):
    """It cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def bodies(work: Work) -> Iterator[Callable[[], object]]:
    """What a task's own code may do."""

    def raises(error: BaseException) -> Callable[[], object]:
        def body() -> object:
            raise error

        return body

    yield from map(
        raises,
        (
            OSError(NOT_UTF8),
            ValueError(NUL),
            Mute(),
            Halt(NUL),
            Skip(NOT_UTF8, hint=NUL),
            GiveUp(ENDLESS),
            SystemExit(3),
        ),
    )
    yield from (lambda: [NOT_UTF8], lambda: {NUL: NUL}, lambda: ENDLESS, lambda: 4 * ENDLESS)
    yield lambda: math.nan
    yield lambda: noticed(NOT_UTF8, reason=NUL, then=NUL, key=f"{work.run_id}{NUL}", kind=NOT_UTF8)
    yield lambda: noticed("t", reason="r", then="n", key=f"{work.run_id}{3000 * 'k'}")
    yield lambda: produced(f"table:{'t' * 3000}", NUL)
    yield lambda: produced("table:t", NOT_UTF8)
    yield lambda: spent(cpu_seconds=math.inf)


def spoil(work: Work, chance: random.Random) -> Outcome:
    """How an execution of a poisoned run's task would end."""
    if work.task in ("flags", "lists"):
        return perform(replace(work, call=lambda: {"other": True}))
    if work.task != "spoiled":
        return perform(replace(work, call=lambda **_: 1, arguments="{}"))
    body = chance.choice(list(bodies(work)))
    return replace(perform(replace(work, call=body)), cpu_seconds=1.0)


POISONED: dict[str, Flow] = {
    which.name: which for which in (poisoned, without_a_flag, without_a_list, without_an_executor)
}
"""Flows whose runs may end badly, and nobody else's with them."""

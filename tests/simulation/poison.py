"""Runs whose data, names and messages are as bad as they come, and runs of a newer Ratchet.

What they hold may fail the run that holds it, with a reason, and touch nobody else's. Some comes
through the real `perform`, as from today's executors; some is raw, as from a job that another
version has started.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import text

from flows.core.context import noticed, produced, spent
from flows.core.errors import GiveUp, Halt, Skip
from flows.core.executors.perform import perform
from flows.core.executors.protocol import Work
from flows.core.flow import Flow, flow, task, when
from flows.core.graph import Graph, Node
from flows.core.records import Asset, ErrorInfo, Notice, Outcome, OutcomeKind
from flows.core.retry import Retry
from flows.core.store.database import Database

NOT_UTF8, NUL, ENDLESS = "caf\udce9.csv", "a\x00b", "x" * 300_000
REFUSED = "this row the database refuses"
"""A value with this in it is refused, as a constraint or a codec of the database would."""
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


# ---------------------------------------------------------------------- of another version


@dataclass(frozen=True, kw_only=True)
class NewerNode(Node):
    """A node with a field that today's Ratchet does not know."""

    map_limit: int = 5


MARK = '"map_limit":5'
"""How that field is stored."""


@flow
def newer() -> None:
    """It can be read by a newer Ratchet only."""
    one(1)


def _by_a_newer_one(graph: Graph) -> Graph:
    nodes = tuple(
        NewerNode(**{f.name: getattr(node, f.name) for f in fields(node)}) for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


class NewerFlow:
    """`newer`, as a newer Ratchet declares it."""

    name, source, priority, max_runs = newer.name, newer.source, newer.priority, newer.max_runs
    subject = newer.subject
    graph = _by_a_newer_one(newer.graph)


def upgrade(database: Database) -> None:
    """Everybody can read now what only a newer version could."""
    with database.write() as connection:
        for gone in (f",{MARK}", f"{MARK},"):
            connection.execute(
                text("UPDATE definition SET graph = replace(graph, :gone, '')"), {"gone": gone}
            )


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


def raw(work: Work) -> Iterator[dict[str, Any]]:
    """What an executor may deliver that today's `perform` would not let pass."""
    bad = {"kind": OutcomeKind.SUCCEEDED, "value": "1"}
    notice = Notice(key=f"{work.run_id}{NUL}", kind=NUL, title=NOT_UTF8, reason=NUL, next=NOT_UTF8)
    yield {"kind": OutcomeKind.HALTED, "reason": NUL}
    yield {"kind": OutcomeKind.SKIPPED, "reason": NOT_UTF8}
    yield {"kind": OutcomeKind.LOST, "reason": NUL}
    yield {
        "kind": OutcomeKind.FAILED,
        "error": ErrorInfo(type=NUL, message=NOT_UTF8, hint=NUL, trace=NOT_UTF8),
    }
    yield {**bad, "value": json.dumps(NOT_UTF8, ensure_ascii=False)}
    yield {**bad, "value": "{this is no JSON"}
    yield {**bad, "value": json.dumps(REFUSED)}
    yield {**bad, "value": NUL}
    yield {**bad, "cpu_seconds": math.nan}
    yield {**bad, "notices": (notice,)}
    yield {**bad, "notices": (replace(notice, key="k" * 3000),)}
    yield {**bad, "assets": (Asset(name="table:" + "t" * 3000, version=NUL),)}


def spoil(work: Work, chance: random.Random) -> Outcome:
    """How an execution of a poisoned run's task would end."""
    if work.task in ("flags", "lists"):
        return perform(replace(work, call=lambda: {"other": True}))
    if work.task != "spoiled":
        return perform(replace(work, call=lambda **_: 1, arguments="{}"))
    if chance.random() < 0.5:
        body = chance.choice(list(bodies(work)))
        return replace(perform(replace(work, call=body)), cpu_seconds=1.0)
    return Outcome(attempt_id=work.attempt_id, **chance.choice(list(raw(work))))


POISONED: dict[str, Flow | NewerFlow] = {
    which.name: which
    for which in (poisoned, without_a_flag, without_a_list, without_an_executor, NewerFlow())
}
"""Flows whose runs may end badly, and nobody else's with them."""


def refuse(database: Database) -> None:
    """Have the database refuse values with `REFUSED` in them, on the empty store."""
    when_refused = f"NEW.value LIKE '%{REFUSED}%'"
    statements = (
        f"CREATE TRIGGER refuses BEFORE UPDATE ON task_run WHEN {when_refused} "
        "BEGIN SELECT RAISE(ABORT, 'the row is refused'); END",
    )
    if database.url.get_backend_name() != "sqlite":
        statements = (
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'the row is refused' USING ERRCODE = '22000'; END $$",
            "CREATE OR REPLACE TRIGGER refuses BEFORE UPDATE ON task_run FOR EACH ROW "
            f"WHEN ({when_refused}) EXECUTE FUNCTION refuse()",
        )
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))

"""Nights in which nothing goes wrong: nobody is taken for dead, and nothing comes late."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from flows.core.lifecycle import RunEvent, TaskEvent
from flows.core.pool import Pool
from flows.core.records import AttemptStatus
from flows.core.store import RunDetail
from tests.simulation.findings import Findings, Record
from tests.simulation.slots import check_rates

SOON = timedelta(seconds=20)
"""Longer than a worker may take to hear of something, and an executor to end its work."""

SAID_LOST = ("spoiled",)
"""Tasks of which another version's executor may say so (`poison`)."""


def check_calm(
    found: Findings,
    record: Record,
    pools: Mapping[str, Pool],
    deaths: int,
    *,
    clocks_agree: bool,
) -> None:
    """Where nothing has gone wrong, nobody died or was taken for dead, and all was in time.

    A clock that is wrong costs nobody anything either, but for what its own worker does before it
    has asked the store.
    """
    found.check(not deaths, f"{deaths} processes died, and nobody had killed them")
    for detail in record.details:
        for attempt in detail.attempts:
            lost = attempt.status is AttemptStatus.LOST and attempt.key not in SAID_LOST
            found.check(not lost, f"{attempt.id} was lost")
        if clocks_agree:
            check_timeouts(found, detail)
            check_cancels(found, record, detail)
    adopted = [event.id for event in record.events if event.kind == TaskEvent.ADOPTED]
    found.check(not adopted, f"events {adopted} say that living workers were recovered")
    if clocks_agree:
        check_rates(found, record, pools)


def check_timeouts(found: Findings, detail: RunDetail) -> None:
    """What has a timeout does not go on for much longer."""
    for attempt in detail.attempts:
        limit = detail.graph.node(attempt.key).timeout
        if limit is not None and attempt.ended_at is not None:
            took = attempt.ended_at - attempt.started_at
            late = took > timedelta(seconds=limit) + SOON
            found.check(not late, f"{attempt.id} took {took}, and may take {limit:g} s")


def check_cancels(found: Findings, record: Record, detail: RunDetail) -> None:
    """What is cancelled ends soon."""
    asked_at = None
    for event in record.chains[detail.run.id]:
        if event.kind == RunEvent.CANCEL:
            asked_at = event.at
        elif event.kind == RunEvent.CANCELLED and asked_at is not None:
            took = event.at - asked_at
            found.check(took <= SOON, f"run {detail.run.id} took {took} to be cancelled")

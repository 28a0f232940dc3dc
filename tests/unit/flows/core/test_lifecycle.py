"""Every pair of status and event either has its line in the table or is refused."""

from __future__ import annotations

from itertools import product

import pytest

from flows.core.errors import IllegalTransition
from flows.core.lifecycle import (
    ATTEMPT,
    RUN,
    TASK,
    AttemptEvent,
    RunEvent,
    TaskEvent,
    after,
)
from flows.core.records import AttemptStatus, RunStatus, TaskStatus

FAMILIES = [
    pytest.param(RUN, RunStatus, RunEvent, id="run"),
    pytest.param(TASK, TaskStatus, TaskEvent, id="task"),
    pytest.param(ATTEMPT, AttemptStatus, AttemptEvent, id="attempt"),
]


@pytest.mark.parametrize(("table", "statuses", "events"), FAMILIES)
def test_the_full_product_of_status_and_event_is_decided(table, statuses, events):
    for status, event in product(statuses, events):
        if (status, event) in table:
            assert after(table, status, event) is table[status, event]
        else:
            with pytest.raises(IllegalTransition, match=f"{event}.*{status}"):
                after(table, status, event)


@pytest.mark.parametrize(("table", "statuses", "events"), FAMILIES)
def test_every_status_can_be_reached_and_every_event_can_happen(table, statuses, events):
    first = {RunStatus.QUEUED, TaskStatus.PENDING, AttemptStatus.RUNNING}
    assert set(statuses) - set(table.values()) <= first
    assert {event for _, event in table} == set(events)


@pytest.mark.parametrize("status", [s for s in RunStatus if s.ended])
def test_an_ended_run_moves_only_when_it_is_reopened(status):
    possible = {event for before, event in RUN if before is status}
    assert possible <= {RunEvent.REOPENED}


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.SKIPPED])
def test_what_succeeded_or_had_nothing_to_do_is_never_reopened(status):
    with pytest.raises(IllegalTransition):
        after(RUN, status, RunEvent.REOPENED)


def test_an_ended_attempt_never_moves_again():
    assert {before for before, _ in ATTEMPT} == {AttemptStatus.RUNNING}


def test_a_succeeded_task_moves_only_when_its_run_is_retried():
    moving = [event for before, event in TASK if before is TaskStatus.SUCCEEDED]
    assert moving == [TaskEvent.REOPENED]

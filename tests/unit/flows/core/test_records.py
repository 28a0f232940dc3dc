"""Records: one with other values in some of its fields is a record of its own."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from flows.core.records import TaskRun, TaskStatus, changed

TASK = TaskRun(run_id="r", key="train", status=TaskStatus.READY)


def test_a_changed_record_is_what_replace_makes_of_it_and_the_first_stays_as_it_was():
    moved = changed(TASK, status=TaskStatus.RUNNING, attempt=1)

    assert moved == replace(TASK, status=TaskStatus.RUNNING, attempt=1)
    assert (TASK.status, TASK.attempt) == (TaskStatus.READY, 0)
    with pytest.raises(FrozenInstanceError):
        moved.attempt = 2


def test_a_field_that_a_record_does_not_have_is_refused():
    with pytest.raises(TypeError, match="TaskRun has no field 'atempt'"):
        changed(TASK, atempt=1)

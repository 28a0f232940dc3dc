"""What a running task may say of itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows.core.context import TaskContext, current, entered, noticed, produced, spent
from flows.core.errors import Refused
from flows.core.records import Asset, Notice

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CONTEXT = TaskContext(
    run_id="r1", flow="f", task="t", attempt=1, attempt_id="r1.t.1", config_text="{}"
)


def test_what_was_produced_is_kept_with_its_last_version():
    with entered(CONTEXT) as account:
        assert current() is CONTEXT
        produced("table:sales", 7, at=NOW)
        produced("model:digits", "2")
        produced("table:sales", 8)
    assert list(account.assets.values()) == [
        Asset(name="table:sales", version="8"),
        Asset(name="model:digits", version="2"),
    ]


def test_what_was_noticed_is_kept_once_for_each_key():
    with entered(CONTEXT) as account:
        noticed("late", reason="slow", then="wait", key="7")
        noticed("late again", reason="slow", then="wait", key="7")
        noticed("worse", reason="by far", then="look", key="7", kind="champion_harmful")
    assert list(account.notices.values()) == [
        Notice(key="noticed:7", kind="noticed", title="late again", reason="slow", next="wait"),
        Notice(
            key="champion_harmful:7",
            kind="champion_harmful",
            title="worse",
            reason="by far",
            next="look",
        ),
    ]


def test_what_was_spent_adds_up():
    with entered(CONTEXT) as account:
        spent(cpu_seconds=2.0)
        spent(cpu_seconds=1.0, gpu_seconds=4.0)
    assert (account.cpu_seconds, account.gpu_seconds) == (3.0, 4.0)


@pytest.mark.parametrize("name", ["sales", "table:", ":sales", ""])
def test_an_asset_without_its_kind_is_refused(name):
    with entered(CONTEXT), pytest.raises(Refused, match="no name of an asset"):
        produced(name, 1)


def test_a_time_without_zone_is_refused():
    with entered(CONTEXT), pytest.raises(Refused, match="no time zone"):
        produced("table:sales", 1, at=datetime(2026, 3, 1))


def test_outside_of_a_task_nothing_can_be_said():
    for say in (lambda: produced("table:sales", 1), lambda: spent(cpu_seconds=1.0), current):
        with pytest.raises(Refused, match="no running task"):
            say()

"""What every state store promises to several projects that share it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.core.claiming import Capabilities
from flows.core.graph import Const, Node, validated
from flows.core.store import NewRun, Store

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
GRAPH = validated((Node(key="a", function="m:a", inputs={"x": Const(const=1)}),))


def test_runs_of_another_project_are_left_to_its_workers_and_hide_nobodys(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Store.open(store_url, knows=lambda source: source.startswith("mine."))
    for number in range(150):
        source = "mine.flows:f" if number == 149 else "theirs.flows:f"
        new = NewRun(
            id=f"r{number:03}", flow="f", key=f"k{number}", source=source, graph=GRAPH,
            config={}, config_yaml="", config_digest="d", trigger={},
        )  # fmt: skip
        mine.runs.create(new, NOW + timedelta(seconds=number))
    now = NOW + timedelta(minutes=10)
    can = Capabilities(worker="w", slots={"inline": 300}, default_executor="inline", now=now)
    looks = [mine.runs.step([], can, runs=[], discover=True) for _ in range(5)]
    claimed = [claim.attempt.run_id for step in looks for claim in step.claims]
    assert claimed == ["r149"]
    assert caplog.text.count("runs of theirs are left to workers that have it") == 1
    theirs = Store.open(store_url)
    can = Capabilities(worker="x", slots={"inline": 300}, default_executor="inline", now=now)
    looks = [theirs.runs.step([], can, runs=[], discover=True) for _ in range(5)]
    assert len([claim for step in looks for claim in step.claims]) == 149
    mine.close()
    theirs.close()

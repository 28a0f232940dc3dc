"""The store commits, and the answer is lost: what was claimed is started all the same."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.core.engine import Engine
from flows.core.errors import StoreError
from flows.core.executors.inline import InlineExecutor
from flows.core.flow import flow, task
from flows.core.records import RunStatus
from flows.core.service import Service
from flows.core.store import Store
from tests.manual_clock import ManualClock


@task
def only() -> int:
    return 1


@flow
def short() -> None:
    only()


def test_a_claim_whose_commit_was_in_doubt_is_found_although_the_next_step_goes_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    store = Store.open(f"sqlite:///{tmp_path}/ratchet.db", clock)
    engine = Engine(
        store, {"inline": InlineExecutor()}, clock=clock, default_executor="inline", discovers=True
    )
    with engine:
        run = Service(store, clock).start(
            short, config={}, config_yaml="", config_digest="d", trigger={"kind": "test"}
        )
        step = store.runs.step

        def cut_off(*given, **more):
            step(*given, **more)
            raise StoreError("the connection was lost after the commit")

        with monkeypatch.context() as patch:
            patch.setattr(store.runs, "step", cut_off)
            with pytest.raises(StoreError):
                engine.tick(clock.now())
        engine.tick(clock.advance(timedelta(milliseconds=10)))  # before it looks round
        engine.tick(clock.advance(timedelta(seconds=2)))
        engine.tick(clock.advance(timedelta(seconds=2)))
    assert store.reads.find(run.id).status is RunStatus.SUCCEEDED
    store.close()

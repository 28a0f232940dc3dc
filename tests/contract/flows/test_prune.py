"""What every state store promises about old runs, and about what KPIs and audits read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.core.claiming import Capabilities
from flows.core.errors import Pruned
from flows.core.graph import Node, validated
from flows.core.kpis import KINDS, measure
from flows.core.records import Asset, ErrorInfo, Outcome, OutcomeKind
from flows.core.store import NewRun, Store

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
ONE = validated((Node(key="a", function="m:a", inputs={}),))


def at(days):
    return NOW + timedelta(days=days)


def create(store, run_id, now, flow="f"):
    store.runs.create(
        NewRun(
            id=run_id, flow=flow, key=run_id, source="m:f", graph=ONE,
            config={"artifacts": "/art"}, config_yaml="", config_digest="d",
            trigger={"kind": "test"},
        ),
        now,
    )  # fmt: skip


def step(store, run_id, now, *outcomes):
    return store.runs.step(
        outcomes,
        Capabilities(worker="w", slots={"ray": 8}, default_executor="ray", now=now),
        runs=[run_id],
    )


def ended(store, run_id, day, flow="f", value='{"uri":"/art/datasets/v/d1"}', **fields):
    """A run of one task that began and ended on that day."""
    create(store, run_id, at(day), flow)
    (claim,) = step(store, run_id, at(day)).claims
    kind = OutcomeKind.FAILED if "error" in fields else OutcomeKind.SUCCEEDED
    outcome = Outcome(attempt_id=claim.attempt.id, kind=kind, value=value, **fields)
    (run,) = step(store, run_id, at(day), outcome).ended
    return run


def ids(runs):
    return [run.id for run in runs]


def test_candidates_are_old_ended_and_not_among_the_newest_of_their_flow(store):
    for day in range(4):
        ended(store, f"r{day}", day)
    ended(store, "g0", 0, flow="g")
    create(store, "open", at(0), flow="h")
    create(store, "newer", at(1), flow="h")
    assert ids(store.prune.candidates(at(3), keep=1)) == ["r0", "r1", "r2"]
    assert ids(store.prune.candidates(at(1), keep=1)) == ["r0"]
    assert ids(store.prune.candidates(at(3), keep=0)) == ["g0", "r0", "r1", "r2"]
    assert ids(store.prune.candidates(at(9), keep=9)) == []


def test_belongings_tell_what_points_at_files(store):
    run = ended(store, "r0", 0)
    (found,) = store.prune.belongings([run])
    assert (found.run, found.config) == (run, {"artifacts": "/art"})
    assert found.attempts == (("r0.a.1", "ray"),)
    assert found.values == ('{"uri":"/art/datasets/v/d1"}',)


def test_what_other_runs_mention_is_found(store):
    ended(store, "r0", 0)
    ended(store, "r1", 0, value='"/art/datasets/v/d2"')
    ended(store, "r2", 0, value='"nothing"')
    assert list(store.prune.mentions("/datasets/", but={"r0"})) == ['"/art/datasets/v/d2"']


def test_a_pruned_run_keeps_its_row_and_its_events_and_nothing_else(store):
    run = ended(store, "r0", 0)
    before = store.reads.events(run_id="r0")
    assert store.prune.forget({"r0": {"files": 3}}, at(40)) == ("r0",)
    assert store.reads.find("r0").status is run.status
    *kept, pruned = store.reads.events(run_id="r0")
    assert tuple(kept) == before
    assert (pruned.kind, pruned.at, pruned.data) == ("run.pruned", at(40), {"files": 3})
    assert pruned.seq == store.reads.find("r0").seq == run.seq + 1
    with pytest.raises(Pruned, match="run r0 was pruned"):
        store.reads.detail("r0")
    assert ids(store.prune.candidates(at(90), keep=0)) == []
    assert store.prune.forget({"r0": {}}, at(41)) == ()


def test_a_pruned_run_is_not_retried_not_even_by_who_has_it_in_memory(store, store_url):
    error = ErrorInfo(type="ValueError", message="no")
    ended(store, "r0", 0, error=error)
    other = Store.open(store_url)
    other.prune.forget({"r0": {}}, at(40))
    other.close()
    with pytest.raises(Pruned, match="run r0 was pruned"):
        store.runs.retry("r0", at(41))


def test_a_run_that_was_opened_again_is_not_forgotten(store):
    error = ErrorInfo(type="ValueError", message="no")
    ended(store, "r0", 0, error=error)
    store.runs.retry("r0", at(1))
    assert store.prune.forget({"r0": {}}, at(40)) == ()
    assert store.reads.detail("r0").run.status.value == "running"


def test_kpis_see_all_of_the_runs_that_moved_and_every_asset(store):
    made = (Asset(name="model:m", version="1"),)
    ended(store, "r0", 0, assets=made, cpu_seconds=1.0)
    ended(store, "r1", 5, cpu_seconds=2.0)
    create(store, "r2", at(5))
    store.prune.forget({"r0": {}}, at(1))
    everything = [event.run_id for event in store.reads.events_by_run(KINDS, None)]
    assert everything == sorted(everything)
    found = measure(store.reads.events_by_run(KINDS, at(4)), since=at(4), until=at(6), flow="f")
    assert (found.success.whole, found.cpu.part, found.queue.count) == (1, 2.0, 1)
    (champion,) = found.champions
    assert (champion.name, champion.age) == ("m", timedelta(days=6))


def test_open_runs_their_workers_and_the_newest_of_each_flow_are_known(store):
    ended(store, "r0", 0)
    create(store, "r1", at(1))
    create(store, "r2", at(2), flow="g")
    step(store, "r2", at(2))
    assert ids(store.reads.open_runs()) == ["r1", "r2"]
    assert store.reads.workers_by_run() == {"r2": {"w"}}
    assert store.reads.newest_by_flow() == {"f": at(1), "g": at(2)}

"""What people look at costs by what they ask for, not by what there ever was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from flows.core.errors import NotFound, NotStorable, Refused
from tests.contract.flows.plans import analyze, ended_runs, insert, plan, reads_all_of

MANY = 5000
LATER = datetime(2027, 1, 1, tzinfo=UTC)


def test_a_whole_id_is_looked_up_as_it_is(store):
    ended_runs(store, MANY)
    described = plan(store, lambda: store.reads.find("succeeded-77"))
    assert not reads_all_of("run", described)
    assert store.reads.find("succeeded-77") == store.reads.get("succeeded-77")


def test_the_end_of_an_id_is_for_people_only(store):
    ended_runs(store, 100)
    assert store.reads.find("eeded-77").id == "succeeded-77"
    with pytest.raises(NotFound, match="there is no run eeded-77") as caught:
        store.reads.get("eeded-77")
    assert caught.value.hint == "did you mean succeeded-77?"
    with pytest.raises(Refused, match="7 is the end of several runs' ids"):
        store.reads.find("7")
    with pytest.raises(NotFound):
        store.reads.find("%")


def test_a_run_whose_status_only_a_newer_version_knows_hides_no_other(store, caplog):
    ended_runs(store, 3)
    strange = f"on-{store.database.url.get_backend_name()}"  # a process says it once
    with store.database.write() as connection:
        moved = text("UPDATE run SET status = :strange WHERE id = 'succeeded-2'")
        connection.execute(moved, {"strange": strange})
    for _ in range(2):
        assert {run.id for run in store.reads.runs()} == {"succeeded-1", "succeeded-3"}
    assert store.reads.find("last").id == "succeeded-3"
    with pytest.raises(NotStorable, match="is of a newer version of Ratchet"):
        store.reads.get("succeeded-2")
    assert caplog.text.count("run succeeded-2 is left alone") == 1


def test_an_id_that_is_the_end_of_another_is_found_by_itself(store):
    ended_runs(store, 1, status="succeeded")
    insert(store, 1, "run (id, flow, key, status, source, config_digest, trigger, created_at, seq) "
           "SELECT 'un' || 'succeeded-1', 'f', 'k', 'failed', 'm:f', 'd', '{}', AT, 1")  # fmt: skip
    assert store.reads.find("succeeded-1").id == "succeeded-1"


@pytest.mark.parametrize(
    ("look", "index"),
    [
        (lambda reads: reads.runs(), "run_newest"),
        (lambda reads: reads.runs(flow="flow3"), "run_newest_of_flow"),
        (lambda reads: reads.runs(status="failed"), "run_newest_of_status"),
        (lambda reads: reads.runs(status="succeeded"), "run_newest"),
        (lambda reads: reads.open_runs(), "run_newest_of_status"),
        (lambda reads: reads.newest_by_flow(), "run_newest_of_flow"),
        (lambda reads: reads.previous(reads.get("succeeded-77")), "run_newest_of_flow"),
    ],
    ids=["newest", "of a flow", "failed", "ended", "open", "by flow", "previous"],
)
def test_lists_of_runs_are_read_by_an_index(store, look, index):
    ended_runs(store, MANY)
    ended_runs(store, 3, status="failed")
    described = plan(store, lambda: look(store.reads))
    assert index in described
    assert index == "run_newest" or not reads_all_of("run", described)


def test_the_newest_run_of_each_flow_is_one_step_of_an_index_a_flow(store):
    ended_runs(store, MANY, flows=3)
    newest = store.reads.newest_by_flow()
    assert newest == {
        flow: store.reads.runs(flow=flow, limit=1)[0].created_at
        for flow in ("flow0", "flow1", "flow2")
    }


def test_what_a_schedule_has_started_last_is_read_without_its_other_fires(store):
    ended_runs(store, 10, flows=1)
    insert(store, 1, "schedule "
           "(name, flow, definition, status, cursor, created_at, updated_at, seq) "
           "SELECT 'often', 'flow0', '{}', 'active', '{}', AT, AT, 1")  # fmt: skip
    insert(store, MANY, 'fire (schedule, "key", at, decided_at, outcome, run_id) '
           "SELECT 'often', 'k' || i, AT, AT, 'skipped', NULL")  # fmt: skip
    insert(store, 10, 'fire (schedule, "key", at, decided_at, outcome, run_id) '
           "SELECT 'often', 'started' || i, AT, AT, 'started', 'succeeded-' || i")  # fmt: skip
    assert [run.id for run in store.reads.results(3)["often"]] == [
        "succeeded-10", "succeeded-9", "succeeded-8",
    ]  # fmt: skip
    assert "fire_of_run" in plan(store, lambda: store.reads.results(3))


def test_what_may_be_pruned_costs_by_what_is_not_pruned_yet(store):
    ended_runs(store, MANY, flows=1)
    insert(store, 5, "definition (run_id, graph, config, config_yaml) "
           "SELECT 'succeeded-' || i, '{}', '{}', ''")  # fmt: skip
    insert(store, 2, "definition (run_id, graph, config, config_yaml) "
           f"SELECT 'succeeded-' || (i + {MANY - 2}), '{{}}', '{{}}', ''")  # fmt: skip

    analyze(store)

    def look():
        return store.prune.candidates(LATER, keep=2)

    assert [run.id for run in look()] == [f"succeeded-{i}" for i in range(1, 6)]
    assert not reads_all_of("run", plan(store, look))

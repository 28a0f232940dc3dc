"""The crash matrix: every method of the store that writes, crash before it and after it, restart.

Because each transition is one store method, a crash at any instruction looks to the rest of
the world like a crash just before or just after one of them. A night in which every method is
called is played again and again; each time the process that calls one of them dies there, and
comes back. What must hold afterwards is what the simulation checks.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from inspect import isfunction
from itertools import count

import pytest

from flows.core.records import RunStatus
from flows.core.store import Store
from tests.simulation.database import Disk, FaultyDatabase
from tests.simulation.patches import of_this_world
from tests.simulation.people import SCRIPT
from tests.simulation.process import Process
from tests.simulation.story import Story
from tests.simulation.world import Crash

pytestmark = pytest.mark.slow

SEEDS = 10
"""Among the nights of so many seeds, there is one in which every method is called."""
EDGES = ("before a write", "after a write")
READERS = ("OwnerStore", "PoolStore", "ReadStore")
"""Classes of which no method writes anything."""
READS = frozenset(
    {
        *("DeadlineStore.due", "DeadlineStore.durations", "DeadlineStore.next_at"),
        *("AssetStore.newest", "LeaseStore.holders", "LeaseStore.of"),
        *("Outbox.delivered_since", "Outbox.due", "Outbox.due_channels"),
        "Outbox.list",
        *("PruneStore.belongings", "PruneStore.candidates", "PruneStore.mentions"),
        *("RetentionStore.count", "RetentionStore.kept_since"),
        *("RunStore.due", "RunStore.forget", "RunStore.refresh", "RunStore.resume"),
        *("ScheduleStore.due", "ScheduleStore.fires", "ScheduleStore.fires_of"),
        *("ScheduleStore.get", "ScheduleStore.last_fires", "ScheduleStore.list"),
        *("ScheduleStore.next_at", "ScheduleStore.on", "ScheduleStore.open_runs"),
        *("ScheduleStore.pending", "ScheduleStore.stands", "ScheduleStore.to_decide"),
        "ScheduleStore.topics",
    }
)
"""Methods of the others that write nothing."""
OUTSIDE = frozenset({"PruneStore.forget", "RetentionStore.remove"})
"""Have tests of their own: they remove what the checks look at."""


def aggregates() -> list[type]:
    """The classes of the store's aggregates."""
    opened = Store.open("sqlite://")
    found = [type(part) for name, part in vars(opened).items() if name != "database"]
    opened.close()
    return found


def public_methods() -> set[str]:
    """`RunStore.step`, ...: every public method of every aggregate, where it is written."""
    return {
        f"{base.__name__}.{name}"
        for kind in aggregates()
        for base in kind.__mro__
        for name, value in vars(base).items()
        if isfunction(value) and not name.startswith("_") and base.__name__ not in READERS
    }


METHODS = sorted(public_methods() - READS - OUTSIDE)
KINDS = {kind.__name__: kind for kind in aggregates()}


def called_method() -> str:
    """The public store method that is being called, by the stack."""
    found, frame = "", sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        name = frame.f_code.co_name
        if type(owner).__name__ in KINDS and not name.startswith("_"):
            found = f"{type(owner).__name__}.{name}"
        frame = frame.f_back  # type: ignore[assignment]
    return found


Watcher = Callable[[Process, str], None]


def play(disk: Disk, seed: int, watcher: Watcher) -> list[str]:
    """The night under a watcher; returns what is wrong after it."""
    disk.wipe()
    story = Story(seed, disk, script=SCRIPT)
    story.world.watcher = watcher
    with of_this_world(story.world):
        story.play()
    return story.findings().problems


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    url = None if request.param == "sqlite" else request.getfixturevalue("new_postgres")()
    made = Disk(url)
    yield made
    made.remove()


Writes = Counter[tuple[str, str]]
"""How often each method comes to each edge of a write in the night, when nobody dies."""


@pytest.fixture(scope="module")
def night(disk: Disk) -> tuple[int, Writes]:
    """The first seed whose night calls every method, or else the one that calls most."""
    nights: list[tuple[int, Writes]] = []
    for seed in range(SEEDS):
        counted: Writes = Counter()

        def count(process: Process, where: str, counted: Writes = counted) -> None:
            if where in EDGES:
                counted[called_method(), where] += 1

        assert play(disk, seed, count) == []
        nights.append((seed, counted))
        if {method for method, _ in counted} >= set(METHODS):
            break
    return max(nights, key=lambda one: len(one[1]))


def test_every_method_of_the_store_is_in_the_matrix(night: tuple[int, Writes]) -> None:
    for edge in EDGES:
        seen = {method for method, where in night[1] if where == edge}
        assert seen == set(METHODS), (
            "let people ask for it in tests/simulation/people.py, or name it among READS"
        )
    assert public_methods() >= READS | OUTSIDE


@pytest.mark.parametrize("where", EDGES)
@pytest.mark.parametrize("method", METHODS)
def test_a_crash_loses_nothing_and_repeats_nothing(
    disk: Disk, night: tuple[int, Writes], method: str, where: str
) -> None:
    seed, writes = night
    for victim in sorted({1, (writes[method, where] + 1) // 2}):
        calls = 0

        def kill(process: Process, edge: str, victim: int = victim) -> None:
            nonlocal calls
            if edge == where and called_method() == method:
                calls += 1
                if calls == victim:
                    process.die(edge)
                    raise Crash

        problems = play(disk, seed, kill)
        assert calls >= victim, "nobody died"
        assert problems == [], f"call {victim} of {writes[method, where]}"


@pytest.mark.parametrize("where", EDGES)
def test_a_crash_while_a_run_is_pruned_removes_all_of_it_or_nothing(disk: Disk, where: str) -> None:
    assert play(disk, 1, lambda process, edge: None) == []
    story = Story(1, disk, script=SCRIPT)
    store = Store(FaultyDatabase(disk, story.processes[0]))
    now = story.world.now + timedelta(days=9)
    (run, *_) = store.prune.candidates(now, keep=0)

    def kill(process: Process, edge: str) -> None:
        if edge == where:
            process.die(edge)
            raise Crash

    story.world.watcher = kill
    with pytest.raises(Crash):
        store.prune.forget({run.id: {"bytes": 0}}, now)
    story.world.watcher = None
    after = Store(disk.database)
    again = after.prune.forget({run.id: {"bytes": 0}}, now)
    assert again == (() if where == "after a write" else (run.id,))
    kinds = [event.kind for event in after.reads.events(run_id=run.id)]
    assert kinds.count("run.pruned") == 1
    assert after.reads.find(run.id).status in set(RunStatus)


@pytest.mark.parametrize("where", EDGES)
def test_a_crash_while_what_is_old_is_removed_is_made_good_by_the_next_try(
    disk: Disk, where: str
) -> None:
    assert play(disk, 1, lambda process, edge: None) == []
    story = Story(1, disk, script=SCRIPT)
    process, before = story.processes[0], story.world.now + timedelta(days=9)

    def store(victim: int | None = None) -> Store:
        """The store, for a process that dies at its write of this number."""
        process.life += 1
        writes = count()

        def kill(process: Process, edge: str) -> None:
            if edge == where and next(writes) == victim:
                process.die(edge)
                raise Crash

        story.world.watcher = kill
        return Store(FaultyDatabase(disk, process))

    assert "event" in store().retention.count(before)
    for victim in range(8):  # one write further each time
        with suppress(Crash):
            store(victim).retention.remove(before, before)
            break
    after = store()
    assert after.retention.count(before) == {}
    assert after.retention.kept_since() == before
    pruned = [event for event in after.reads.events() if event.kind == "events.pruned"]
    assert len(pruned) == 1

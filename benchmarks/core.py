"""The core: a chain, a fan-out, and the hand-over from a task's end to the next one's start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise

from benchmarks import floors
from benchmarks.local_ray import local_ray
from benchmarks.measure import Case, Sample, Setting, seconds, side_by_side
from benchmarks.noop_flows import CHAIN, FAN, Moment, chain, fan_out, stamps
from benchmarks.report import Aim, Figure, Kind
from flows import Flow
from flows.core import values
from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.processes import ProcessExecutor
from flows.core.executors.protocol import Executor
from flows.core.executors.threads import ThreadExecutor
from flows.core.records import RunStatus
from flows.core.service import Service
from flows.core.store import Store

CORES = os.cpu_count() or 1
THREADS = max(4, CORES)  # as many as an installation has by default
EXECUTORS = ("inline", "threads", "processes")

CHAIN_AIM = Aim(kind=Kind.RATIO_AT_MOST, bound=1.5)
HAND_OVER_AIM = Aim(kind=Kind.AT_MOST, bound=1.0)
FAN_OUT_AIMS = {
    "threads": Aim(kind=Kind.AT_LEAST, bound=2500),
    "processes": Aim(kind=Kind.AT_LEAST, bound=1500),
}


class Driver:
    """An engine with one executor, and the runs it is given."""

    def __init__(self, engine: Engine, service: Service) -> None:
        self._engine = engine
        self._service = service

    def run(self, flow: Flow) -> str:
        """From asking for a run to its recorded end; returns its id."""
        run = self._service.start(
            flow, config={}, config_yaml="", config_digest="", trigger={"kind": "benchmark"}
        )
        self._engine.run_until_ended([run.id])
        return run.id

    def moments(self, run_id: str) -> list[Moment]:
        """What the tasks of `stamps` returned, in order."""
        detail = self._service.show(run_id)
        assert detail.run.status is RunStatus.SUCCEEDED, detail.run.reason
        return [values.loads(task.value or "", Moment) for task in detail.tasks]


@contextmanager
def driver(setting: Setting, executor: str) -> Iterator[Driver]:
    """A store of its own on the disk, and an engine over it."""
    store = Store.open(f"sqlite:///{setting.folder / f'{executor}.db'}")
    made: dict[str, Executor] = {
        "inline": InlineExecutor(),
        "threads": ThreadExecutor(THREADS),
        "processes": ProcessExecutor(CORES),
    }
    clock = SystemClock()
    chosen = {executor: made[executor]}
    with Engine(store, chosen, clock=clock, default_executor=executor) as engine:
        yield Driver(engine, Service(store, clock))
    store.close()


def figures(setting: Setting) -> Iterator[Figure]:
    """The figures of the core."""
    with ExitStack() as stack:
        drivers = {name: stack.enter_context(driver(setting, name)) for name in EXECUTORS}
        commit = stack.enter_context(floors.record(setting.folder))
        pool = stack.enter_context(floors.workers(CORES))
        yield from _chains(setting, drivers, commit, pool)
        yield from _hand_overs(setting, drivers)
        yield from _fan_outs(setting, drivers, commit, pool)


def _chains(
    setting: Setting, drivers: dict[str, Driver], commit: floors.Record, pool: list[floors.Worker]
) -> Iterator[Figure]:
    names = ("inline", "two commits", "processes", "two commits and a round trip")
    samples = side_by_side(
        {
            names[0]: _ms_a_task(partial(drivers["inline"].run, chain)),
            names[1]: _ms_a_task(partial(floors.chain_inline, commit, CHAIN)),
            names[2]: _ms_a_task(partial(drivers["processes"].run, chain)),
            names[3]: _ms_a_task(partial(floors.chain_in_worker, commit, pool[0], CHAIN)),
        },
        repeats=setting.of(40, 5),
        warm_up=2,
    )
    for own, floor in (names[:2], names[2:]):
        yield Figure(
            name=f"chain of {CHAIN} tasks, {own}, each",
            unit="ms",
            own=samples[own],
            beside={floor: samples[floor]},
            aim=CHAIN_AIM,
        )


def _hand_overs(setting: Setting, drivers: dict[str, Driver]) -> Iterator[Figure]:
    gaps: dict[str, list[float]] = {name: [] for name in EXECUTORS}
    for number in range(setting.of(20, 4) + 1):
        for name, found in gaps.items():
            moments = drivers[name].moments(drivers[name].run(stamps))
            if number:  # the first warms up
                pairs = pairwise(moments)
                found += [(after.begun - before.ended) / 1e6 for before, after in pairs]
    for name, found in gaps.items():
        sample = Sample(values=tuple(found))
        yield Figure(
            name=f"hand-over, {name}",
            unit="ms",
            own=sample,
            beside={"p95": Sample(values=(sample.quantile(0.95),))},
            aim=HAND_OVER_AIM,
        )


def _fan_outs(
    setting: Setting, drivers: dict[str, Driver], commit: floors.Record, pool: list[floors.Worker]
) -> Iterator[Figure]:
    with local_ray(setting.folder), ThreadPoolExecutor(THREADS) as threads:
        in_threads = partial(floors.fan_out_in_threads, commit, threads, THREADS, FAN)
        samples = side_by_side(
            {
                "threads": _tasks_a_second(partial(drivers["threads"].run, fan_out)),
                "thread floor": _tasks_a_second(in_threads),
                "processes": _tasks_a_second(partial(drivers["processes"].run, fan_out)),
                "process floor": _tasks_a_second(
                    partial(floors.fan_out_in_workers, commit, pool, FAN)
                ),
                "ray": _tasks_a_second(partial(floors.ray_loop, FAN)),
            },
            repeats=setting.of(15, 4),
            warm_up=2,
        )
    for name, floor in (("threads", "thread floor"), ("processes", "process floor")):
        yield Figure(
            name=f"fan-out over {FAN} tasks, {name}",
            unit="tasks/s",
            own=samples[name],
            beside={"warm pool, grouped commits": samples[floor], "plain Ray": samples["ray"]},
            aim=FAN_OUT_AIMS[name],
        )


def _ms_a_task(action: Callable[[], object]) -> Case:
    return lambda: seconds(action) / CHAIN * 1e3


def _tasks_a_second(action: Callable[[], object]) -> Case:
    return lambda: FAN / seconds(action)

"""The composition root: settings in, a working Ratchet out. Everything is built here, once."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray_jobs
from flows import declarations
from flows.adapters.alerts import Alerts
from flows.adapters.ray_executor import RayExecutor
from flows.adapters.views import ViewSource
from flows.config import Composed, Composer, check_outside, compose_settings
from flows.core import due, values
from flows.core.clock import Clock, SystemClock
from flows.core.courier import Courier
from flows.core.data_source import BoundedSource
from flows.core.engine import Engine, OnEvent
from flows.core.errors import ConfigError, NotFound, RatchetError
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.processes import ProcessExecutor
from flows.core.executors.protocol import Executor
from flows.core.executors.threads import ThreadExecutor
from flows.core.flow import Flow
from flows.core.identity import Identity
from flows.core.records import Run
from flows.core.schedule import Fire, Schedule
from flows.core.schedule_service import ScheduleService
from flows.core.scheduler import Scheduler
from flows.core.service import Flows, Service, new_run_id
from flows.core.store import NewRun, Store
from flows.declarations import Declared
from flows.settings import Settings, reveal, revealed
from ray_jobs import RayConfig


class Modules:
    """The modules of flows, imported when a flow is first asked for: who reads needs none."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._lock = threading.RLock()
        self._flows: Flows | None = None
        self._broken: Mapping[str, RatchetError] = {}

    @property
    def flows(self) -> Flows:
        """The flows in them."""
        with self._lock:
            if self._flows is None:
                flows = Flows(_load)
                self._broken = _import(self._names, flows)
                self._flows = flows
            return self._flows

    @property
    def broken(self) -> Mapping[str, RatchetError]:
        """Those that cannot be imported, each with why; the others go on without them."""
        _ = self.flows
        return self._broken

    def import_broken(self) -> None:
        """Try again to import those that could not be imported."""
        self._broken = _import(self.broken, self.flows)


@dataclass(kw_only=True)
class Ratchet:
    """One installation: its settings, its flows, and the verbs over its store."""

    settings: Settings
    service: Service
    modules: Modules
    overrides: tuple[str, ...] = ()  # what it was opened with; every run's config begins so
    clock: Clock = field(default_factory=SystemClock)

    @property
    def flows(self) -> Flows:
        """The flows of its modules."""
        return self.modules.flows

    @property
    def broken(self) -> Mapping[str, RatchetError]:
        """The modules that cannot be imported, each with why."""
        return self.modules.broken

    @property
    def home(self) -> Path:
        """The folder that Ratchet may write."""
        return Path(self.settings.home)

    @property
    def project(self) -> Path:
        """The folder of the team's conf/ and modules."""
        return Path(self.settings.project)

    @property
    def logs(self) -> Path:
        """Where attempts on this machine leave what they print, `<run>/<task>.<n>.log`."""
        return self.home / "logs"

    def flow(self, name: str) -> Flow:
        """A flow by its name or dotted path. Raises NotFound, naming what could not be imported."""
        try:
            return self.flows.get(name)
        except NotFound as error:
            if not self.broken:
                raise
            module, problem = next(iter(self.broken.items()))
            raise NotFound(f"{error}; {module} is broken: {problem}", hint=error.hint) from error

    def compose(self, flow: Flow, overrides: Sequence[str] = ()) -> Composed[Any]:
        """The config of one run of `flow`. Raises ConfigError."""
        return self._composer.compose(flow.config, flow.config_type, (*self.overrides, *overrides))

    @cached_property
    def _composer(self) -> Composer:
        return Composer(project=self.project)

    def _compose_own(self, flow: Flow, overrides: Sequence[str]) -> Composed[Any]:
        """With overrides that may name only keys of the flow's own config. Raises ConfigError."""
        return self._composer.compose(
            flow.config, flow.config_type, self.overrides, flow_only=overrides
        )

    def start(
        self,
        flow: Flow,
        overrides: Sequence[str] = (),
        *,
        trigger: Mapping[str, Any],
        key: str | None = None,
        held_by: str | None = None,
        outside: bool = False,
    ) -> Run:
        """Record a run of `flow` with its config, composed here and never again.

        Args:
            held_by: the worker that is about to drive it, alone; None: whoever finds it.
            key: what makes it unique in its flow; from outside, one for all that is asked for.
            outside: the overrides come from outside the installation.

        Raises:
            ConfigError: an override does not fit the flow's config.
            KeyReused: the key stands for another flow, or for other overrides.
        """
        if outside:
            check_outside(overrides, flow.config_type)
        composed = self.compose(flow, overrides)
        if key is not None:
            scope, request = "api" if outside else flow.name, ("start", flow.name, *overrides)
            self.service.store.requests.bind([scope], key, request, self.clock.now())
            key = f"api:{key}" if outside else key
        return self.service.start(
            flow,
            config=_config_of(composed),
            config_yaml=composed.yaml,
            config_digest=composed.digest,
            trigger={**trigger, "overrides": list(overrides)},
            key=key,
            held_by=held_by,
        )

    def engine(
        self,
        *,
        executor: str | None = None,
        on_event: OnEvent | None = None,
        serves: frozenset[str] | None = None,
        ray: Callable[[], RayConfig] | None = None,
        identity: Identity | None = None,
    ) -> Engine:
        """A worker in this process, to be used in a ``with`` block.

        Args:
            executor: where tasks run that do not say it; None: as the settings say.
            serves: the pools whose tasks it runs; None: all.
            ray: which Ray its Ray tasks go to, with its secrets; None: that of the settings.
            identity: who it is, where runs are made for it before it is open; None: a new worker.
        """
        _ = self.flows  # imported before there are threads
        on_ray = RayExecutor(
            lambda: ray_jobs.connect(
                ray() if ray else revealed(self.settings.ray), self.settings.artifacts, self.home
            ),
            import_paths=(str(self.project),),
        )
        engine = Engine(
            self.service.store,
            {**self._local_executors(), on_ray.name: on_ray},
            clock=self.clock,
            default_executor=executor or self.settings.executor.value,
            logs=self.logs,
            calls=self._call,
            on_event=on_event,
            pools=self.settings.limits(),
            serves=serves,
            identity=identity,
        )
        on_ray.when_counted(engine.wake)
        return engine

    def config_stamp(self) -> object:
        """Another one when a config file has changed."""
        return self._composer.stamp()

    def reread(self) -> Ratchet:
        """The same, with the settings as the config files have them now. Raises ConfigError.

        Modules that could not be imported are tried again.
        """
        settings = compose_settings(self.overrides, self.project)
        self.modules.import_broken()
        return replace(self, settings=settings)

    def fire(self, schedule: str, overrides: Sequence[str], *, key: str | None, by: str) -> Fire:
        """Fire a schedule now, on request, with overrides from outside for this run.

        Raises NotFound, Refused, KeyReused, ConfigError.
        """
        stored, _ = self.schedules.show(schedule, limit=1)
        check_outside(overrides, self.flow(stored.schedule.flow).config_type)
        return self.schedules.fire(schedule, key=key, by=by, overrides=overrides, scopes=("api",))

    def declared(self) -> Declared:
        """The schedules of config and flows, and what is wrong; broken modules are among it."""
        found = declarations.declared(self.settings, self.flows)
        problems = {**self.broken, **found.problems}
        return replace(found, problems=problems, broken=frozenset(self.broken))

    def prepare(self, schedule: Schedule, key: str, at: datetime) -> NewRun:
        """The run of one fire of a schedule. Raises NotFound, ConfigError."""
        flow = self.flow(schedule.flow)
        composed = self._compose_own(flow, due.filled(schedule, at))
        config = _config_of(composed)
        return NewRun(
            id=new_run_id(self.clock.now()),
            flow=flow.name,
            key=key,
            source=flow.source,
            graph=flow.graph,
            config=config,
            config_yaml=composed.yaml,
            config_digest=composed.digest,
            trigger=flow.subject(config),  # whoever fires says what started it
            priority=flow.priority,
            max_runs=flow.max_runs,
        )

    def scheduler(self, wake: Callable[[], None]) -> Scheduler:
        """What fires schedules; `wake` is called when a run was recorded."""
        return Scheduler(
            self.service.store,
            self.prepare,
            self._views,
            clock=self.clock,
            wake=wake,
            stamp=self.config_stamp,
            owners=self.owners,
        )

    @cached_property
    def schedules(self) -> ScheduleService:
        """The verbs about schedules."""
        return ScheduleService(
            self.service.store, self.clock, self._check, self.prepare, self._views, self.owners
        )

    @property
    def owners(self) -> frozenset[str]:
        """Whose the schedules are, where several projects share a store: its modules."""
        return frozenset(m for m in self.settings.flows if m.partition(".")[0] != "flows")

    def _check(self, schedule: Schedule) -> None:
        declarations.check(schedule, self.flows, self._compose_own, self.clock.now())

    @cached_property
    def _views(self) -> BoundedSource:
        return BoundedSource(ViewSource(revealed(self.settings.feature_store)), clock=self.clock)

    def courier(self) -> Courier:
        """Who delivers the alerts of this installation."""
        post = Alerts(self.settings.alerts, self.home)
        return Courier(self.service.store, post, clock=self.clock)

    def _local_executors(self) -> dict[str, Executor]:
        cores = os.cpu_count() or 1
        workers = self.settings.workers
        return {
            "inline": InlineExecutor(),
            "threads": ThreadExecutor(workers.threads or max(4, cores)),
            "processes": ProcessExecutor(workers.processes or cores),
        }

    def _call(self, flow: str, task: str) -> Any:
        """The function itself, for flows that only this process has (notebooks, scripts)."""
        if flow not in self.flows.names():
            return None  # its run goes on by the dotted paths that it has stored
        known = self.flows.get(flow)
        found = known.tasks.get(task)  # a notebook may have written the flow anew meanwhile
        return found.function if found and known.source.startswith("__main__:") else None

    def close(self) -> None:
        """Give back the store's connections."""
        self.service.store.close()


def _config_of(composed: Composed[Any]) -> Any:
    """What a run's tasks are given of its config, as JSON data."""
    config = values.to_json(composed.settings.for_runs())
    return config if composed.flow is None else config | values.to_json(composed.flow)


def bootstrap(settings: Settings, clock: Clock | None = None) -> Ratchet:
    """A Ratchet over `settings`. Raises StoreError when its store cannot be opened.

    `clock` is the time of its store; None: as `Store.open` has it.
    """
    _refuse_shadows(Path(settings.project))
    store = Store.open(reveal(settings.store.url), clock, knows=_is_here)
    if settings.project not in sys.path:
        sys.path.insert(0, settings.project)
    return Ratchet(
        settings=settings,
        service=Service(store, store.clock, settings.limits()),
        modules=Modules(settings.flows),
        clock=store.clock,
    )


def open_project(project: Path | None = None, overrides: Sequence[str] = ()) -> Ratchet:
    """The Ratchet of a folder (default: the current one). Raises ConfigError, StoreError."""
    ratchet = bootstrap(compose_settings(overrides, project))
    ratchet.overrides = tuple(overrides)
    return ratchet


def _refuse_shadows(project: Path) -> None:
    """Raise ConfigError when a module of the project would be imported in the place of ours."""
    ours = Path(__file__).resolve().parents[1]
    for name in ("flows", "feature_store", "ray_jobs", "registry"):
        for theirs in (project / f"{name}.py", project / name / "__init__.py"):
            if theirs.exists() and not theirs.resolve().is_relative_to(ours / name):
                raise ConfigError(
                    f"{theirs} has the name of a package of Ratchet, and would hide it",
                    hint=f"call it something else, such as my_{name}",
                )


def _import(modules: Iterable[str], flows: Flows) -> Mapping[str, RatchetError]:
    """Add the flows of these modules; why those that cannot be imported could not."""
    broken: dict[str, RatchetError] = {}
    for module in modules:
        try:
            for named in vars(importlib.import_module(module)).values():
                if isinstance(named, Flow):
                    flows.add(named)
        except RatchetError as error:
            broken[module] = error
        except Exception as error:  # whatever a team's module raises must not stop the others
            broken[module] = ConfigError(
                f"{type(error).__name__}: {error}", hint=f"python -c 'import {module}' shows where"
            )
    return broken


def _is_here(source: str) -> bool:
    """Whether the package of a flow can be found here; it is not imported for that."""
    package = source.partition(":")[0].partition(".")[0]
    return not package or package in sys.modules or find_spec(package) is not None


def _load(path: str) -> Flow:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NotFound(f"there is no flow {path}: {error}", hint="module:name of a @flow") from None
    if not isinstance(found, Flow):
        raise NotFound(f"{path} is not a flow", hint="put @flow on the function")
    return found

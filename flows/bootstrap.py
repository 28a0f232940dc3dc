"""The composition root: settings in, a working Ratchet out. Everything is built here, once."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray_jobs
from flows.adapters.ray_executor import RayExecutor
from flows.config import Composed, compose
from flows.core import values
from flows.core.clock import Clock, SystemClock
from flows.core.engine import Engine, OnEvent
from flows.core.errors import ConfigError, NotFound, RatchetError
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.processes import ProcessExecutor
from flows.core.executors.protocol import Executor
from flows.core.executors.threads import ThreadExecutor
from flows.core.flow import Flow
from flows.core.records import Run
from flows.core.service import Flows, Service
from flows.core.store import Store
from flows.settings import Settings, reveal, revealed


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A module of flows that cannot be imported; the others go on without it."""

    module: str
    error: RatchetError


@dataclass(kw_only=True)
class Ratchet:
    """One installation: its settings, its flows, and the verbs over its store."""

    settings: Settings
    service: Service
    flows: Flows
    broken: tuple[Broken, ...] = ()
    overrides: tuple[str, ...] = ()  # what it was opened with; every run's config begins so
    clock: Clock = field(default_factory=SystemClock)

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
            first = self.broken[0]
            broken = f"{first.module} is broken: {first.error}"
            raise NotFound(f"{error}; {broken}", hint=error.hint) from error

    def compose(self, flow: Flow, overrides: Sequence[str] = ()) -> Composed[Any]:
        """The config of one run of `flow`. Raises ConfigError."""
        chosen = (*self.overrides, *overrides)
        return compose(flow.config, flow.config_type, chosen, self.project)

    def start(
        self,
        flow: Flow,
        overrides: Sequence[str] = (),
        *,
        trigger: Mapping[str, Any],
        key: str | None = None,
    ) -> Run:
        """Record a run of `flow` with its config, composed here and never again.

        Raises:
            ConfigError: an override does not fit the flow's config.
        """
        composed = self.compose(flow, overrides)
        config = values.to_json(composed.settings)
        if composed.flow is not None:
            config |= values.to_json(composed.flow)
        return self.service.start(
            flow,
            config=config,
            config_yaml=composed.yaml,
            config_digest=composed.digest,
            trigger={**trigger, "overrides": list(overrides)},
            key=key,
        )

    def engine(self, *, executor: str | None = None, on_event: OnEvent | None = None) -> Engine:
        """A worker in this process, to be used in a ``with`` block."""
        return Engine(
            self.service.store,
            self._executors(),
            clock=self.clock,
            default_executor=executor or self.settings.executor.value,
            logs=self.logs,
            calls=self._call,
            on_event=on_event,
        )

    def _executors(self) -> dict[str, Executor]:
        cores = os.cpu_count() or 1
        workers = self.settings.workers
        return {
            "inline": InlineExecutor(),
            "threads": ThreadExecutor(workers.threads or max(4, cores)),
            "processes": ProcessExecutor(workers.processes or cores),
            "ray": RayExecutor(
                lambda: ray_jobs.connect(
                    revealed(self.settings.ray), self.settings.artifacts, self.home
                ),
                import_paths=(str(self.project),),
            ),
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


def bootstrap(settings: Settings, clock: Clock | None = None) -> Ratchet:
    """A Ratchet over `settings`. Raises StoreError when its store cannot be opened."""
    _refuse_shadows(Path(settings.project))
    clock = clock or SystemClock()
    store = Store.open(reveal(settings.store.url))
    flows = Flows(_load)
    if settings.project not in sys.path:
        sys.path.insert(0, settings.project)
    broken = tuple(b for module in settings.flows for b in _import(module, flows))
    return Ratchet(
        settings=settings,
        service=Service(store, clock),
        flows=flows,
        broken=broken,
        clock=clock,
    )


def open_project(project: Path | None = None, overrides: Sequence[str] = ()) -> Ratchet:
    """The Ratchet of a folder (default: the current one). Raises ConfigError, StoreError."""
    ratchet = bootstrap(compose(None, None, overrides, project or Path.cwd()).settings)
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


def _import(module: str, flows: Flows) -> list[Broken]:
    try:
        for found in vars(importlib.import_module(module)).values():
            if isinstance(found, Flow):
                flows.add(found)
    except RatchetError as error:
        return [Broken(module=module, error=error)]
    except Exception as error:  # whatever a team's module raises must not stop the others
        problem = ConfigError(
            f"{type(error).__name__}: {error}", hint=f"python -c 'import {module}' shows where"
        )
        return [Broken(module=module, error=problem)]
    return []


def _load(path: str) -> Flow:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NotFound(f"there is no flow {path}: {error}", hint="module:name of a @flow") from None
    if not isinstance(found, Flow):
        raise NotFound(f"{path} is not a flow", hint="put @flow on the function")
    return found

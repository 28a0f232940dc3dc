"""The settings of one installation: where its state, data, models and cluster are.

Composed once at the edge by ``flows.config`` and passed in from there; this module
imports no Hydra, so a Ray worker can hold a ``Settings`` as well.

A secret is written ``${secret:NAME}`` in a config. It stays the reference
``secret:NAME`` in the settings, in the stored config and in every log, and becomes the
secret itself only in ``reveal``, at the moment of use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from feature_store import FeatureStoreConfig
from flows.core import values
from flows.core.alert import AlertKind, Severity, Throttle
from flows.core.errors import ConfigError
from flows.core.masking import REFERENCE, keep_out
from flows.core.pool import Pool, Rate, check_pool_name
from flows.core.schedule import Late, Policies
from ray_jobs import BUILT_IN_MODULES, RayConfig
from registry import RegistryConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


class ExecutorName(StrEnum):
    """Where the tasks of a run are carried out."""

    INLINE = "inline"  # in the calling thread, one after the other
    THREADS = "threads"  # in threads of this process: light, but not killable
    PROCESSES = "processes"  # in warm worker processes that can be ended
    RAY = "ray"  # on the Ray of ``Settings.ray``


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """The state store: runs, attempts, schedules and events."""

    url: str  # SQLAlchemy URL: sqlite:///path, postgresql+psycopg://...


@dataclass(frozen=True, kw_only=True)
class AlertRoute:
    """Alerts that go to other places than the default; all that is said here must hold."""

    urls: tuple[str, ...]  # Apprise URLs
    flows: tuple[str, ...] = ("*",)  # name patterns of the flows (fnmatch); "" is no flow's
    severities: tuple[Severity, ...] = ()  # how soon somebody has to look; empty: any
    kinds: tuple[AlertKind, ...] = ()  # what happened; empty: anything


@dataclass(frozen=True, kw_only=True)
class AlertsConfig:
    """Who is told when a run, a schedule or a champion is not as it should be."""

    urls: tuple[str, ...] = ()  # Apprise URLs; none: alerts go to `<home>/alerts.jsonl` only
    kinds: tuple[AlertKind, ...] = ()  # what the URLs are told of; empty: everything
    routes: tuple[AlertRoute, ...] = ()  # every one that matches; they take the place of `urls`
    throttle: Throttle | None = field(default_factory=Throttle)  # of each URL; None: none


@dataclass(frozen=True, kw_only=True)
class WorkersConfig:
    """How many tasks run at once on this machine; None: one per CPU core."""

    threads: int | None = None  # threads of the ``threads`` executor
    processes: int | None = None  # processes of the ``processes`` executor

    def __post_init__(self) -> None:
        """Refuse fewer than none: a run would wait for them for ever."""
        for name, count in vars(self).items():
            if count is not None and count < 0:
                raise ConfigError(
                    f"workers.{name} is {count}, and at least 1 is needed",
                    hint="leave it out for one per CPU core",
                )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Policies):
    """What makes a flow run by itself: one trigger, and what to do when it does not work out.

    Exactly one of the first six says what the trigger is. A key that is left out has the default
    of the trigger's own class in ``flows.core.schedule``; those of other triggers are refused.
    """

    flow: str  # name
    cron: str | None = None  # Cron: "0 3 * * *", or @daily
    every: timedelta | None = None  # Interval
    new_data: str | None = None  # NewData: name of a feature view
    asset: str | None = None  # OnAsset: "model:digits", "table:sales"
    by: str | None = None  # Deadline: "06:00"
    on_request: bool | None = None  # OnRequest: true
    zone: str | None = None  # of cron and by
    anchor: datetime | None = None  # of every
    min_rows: int | None = None  # of new_data, as are the four below
    settle: timedelta | None = None
    max_wait: timedelta | None = None
    late: Late | None = None
    lateness: timedelta | None = None
    days: str | None = None  # of by, as are the three below
    confidence: float | None = None
    latest_start: timedelta | None = None
    earliest_start: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class ApiConfig:
    """The REST API of `ratchet up`; it listens on this machine only."""

    webhook_secret: str | None = None  # ${secret:NAME}: signs the bodies of a web hook


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """What the tasks that name this pool share."""

    slots: int | None = None  # what they may weigh together at once; None: no limit
    rate: str | None = None  # of starts, "10/1m"; None: no limit


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an installation decides once, for all its flows.

    Paths are absolute here: what a config says relatively is relative to ``project``.
    """

    project: str  # folder of the team's own conf/ and modules; given by the caller of compose
    home: str  # folder that Ratchet may write: state, models, artifacts
    artifacts: str  # path or URI of the artifact store
    store: StoreConfig
    feature_store: FeatureStoreConfig
    registry: RegistryConfig
    ray: RayConfig
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    flows: tuple[str, ...] = ("flows.retrain",)  # modules that flows are imported from
    allowed_modules: tuple[str, ...] = BUILT_IN_MODULES  # what a dotted path may begin with
    executor: ExecutorName = ExecutorName.PROCESSES  # where tasks run that do not say
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    schedules: Mapping[str, ScheduleConfig] = field(default_factory=dict)  # by name
    pools: Mapping[str, PoolConfig] = field(default_factory=dict)  # by name
    api: ApiConfig = field(default_factory=ApiConfig)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """The settings inside a run's config, for use in a task, at once.

        Secrets of the feature store and the registry are revealed. Those of the state store
        and of alerts stay references: no task needs them, and a worker may not have them.
        Raises ConfigError for a missing secret, NotStorable when the config does not fit.
        """
        names = {f.name for f in fields(cls)}
        data = {name: value for name, value in config.items() if name in names}
        settings: Settings = values.from_json(data, cls)
        return replace(
            settings,
            feature_store=revealed(settings.feature_store),
            registry=revealed(settings.registry),
        )

    def limits(self) -> dict[str, Pool]:
        """The pools that limit anything, by name. Raises ConfigError, naming the pool."""
        return {name: _pool(name, config) for name, config in self.pools.items()}

    def for_runs(self) -> Settings:
        """What a run keeps of the settings: all but what only scheduler and workers need."""
        return replace(self, schedules={}, pools={}, api=ApiConfig())


def _pool(name: str, config: PoolConfig) -> Pool:
    check_pool_name(name)
    if config.slots is not None and config.slots < 1:
        raise ConfigError(f"pool {name} has {config.slots} slots", hint="give it at least one")
    try:
        rate = None if config.rate is None else Rate.parse(config.rate)
    except ConfigError as error:
        raise ConfigError(f"pool {name}: {error}", hint=error.hint) from None
    return Pool(name=name, slots=config.slots, rate=rate)


def reveal(value: str, environ: Mapping[str, str] | None = None) -> str:
    """``value`` with each reference ``secret:NAME`` replaced by the secret itself.

    The secret is the environment variable NAME, or else the content of the file named by
    NAME_FILE (the convention of Docker and Kubernetes; one trailing line end is dropped).
    Inside a URL it is percent-encoded, so that a password may hold ``@`` or ``/``.
    Raises ConfigError, which names the secret but never shows it, when there is none.
    """
    environ = os.environ if environ is None else environ
    inside_url = "://" in value

    def secret(match: re.Match[str]) -> str:
        found = _read_secret(match[1], environ)
        keep_out(found)
        return quote(found, safe="") if inside_url else found

    return REFERENCE.sub(secret, value)


def revealed(config: T) -> T:
    """A config dataclass with the secrets in place of their references, for immediate use.

    Make it where the secret is used (on the worker, for a task there), and never store it.
    Raises ConfigError as ``reveal`` does.
    """
    changes = {f.name: _revealed(getattr(config, f.name)) for f in fields(config) if f.init}
    return replace(config, **changes)


def _revealed(value: Any) -> Any:
    if type(value) is str:
        return reveal(value)
    if isinstance(value, tuple):
        return tuple(_revealed(v) for v in value)
    if isinstance(value, Mapping):
        return {k: _revealed(v) for k, v in value.items()}
    return revealed(value) if is_dataclass(value) and not isinstance(value, type) else value


def _read_secret(name: str, environ: Mapping[str, str]) -> str:
    if name in environ:
        return environ[name]
    path = environ.get(f"{name}_FILE")
    if path is None:
        raise ConfigError(
            f"The secret {name} is not set.",
            hint=f"set the environment variable {name}, or {name}_FILE to a file that holds it",
        )
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            f"The secret {name} cannot be read from {path}: {reason}.",
            hint=f"set {name}_FILE to a readable file, or {name} itself",
        ) from None

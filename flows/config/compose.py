"""Overrides and YAML files composed by Hydra into one config.

Hydra keeps global state, so everything that touches it holds one lock. It is imported in
the functions that need it: a stored config is read without it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from flows.config import messages, overrides, schema, typed
from flows.config.document import Composed, document, root_of
from flows.config.kept import Kept, Merged
from flows.config.overrides import check_own
from flows.config.sources import (
    DATABASES,
    ENTRY,
    PATHS,
    ConfigPath,
    anchored,
    config_path,
    settled,
)
from flows.core import values
from flows.core.errors import ConfigError, NotStorable
from flows.settings import Settings

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

T = TypeVar("T")

KEPT = 1000
"""Composed configs that a process keeps, of some 30 KB each."""

_HYDRA = threading.RLock()
_SECRET_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_SECRET_IN_ENV = re.compile(
    r"\$\{\s*oc\.env\s*:\s*['\"]?(\w*(?:PASSWORD|PASSWD|SECRET|TOKEN|KEY)\w*)", re.IGNORECASE
)


def compose(
    flow_config: str | None = None,
    config_type: type[T] | None = None,
    overrides: Sequence[str] = (),
    project: Path | None = None,
) -> Composed[T]:
    """The settings and one flow's config, from YAML files and overrides.

    `flow_config` names a file of conf/flow, `config_type` the dataclass that it fills; both
    None: the settings alone. `project` holds the team's own conf/ (None: the current folder).
    Safe to call from several threads. Raises ConfigError, one line for the first mistake.
    """
    where = config_path(Path.cwd() if project is None else project)
    given = [*([] if flow_config is None else [f"flow={flow_config}"]), *overrides]
    composition = _Composition(where, root_of(config_type), given)
    kept = Kept.of(where, given)
    if merged := kept.read():
        with suppress(ConfigError):  # other code than when it was kept: said better below
            composition.check(merged.raw)
            return _typed(merged, config_type, composition)
    merged = composition.merged()
    composed = _typed(merged, config_type, composition)
    kept.write(replace(merged, settings=values.to_json(composed.settings)))
    return composed


def compose_settings(overrides: Sequence[str] = (), project: Path | None = None) -> Settings:
    """The settings alone; where nothing has changed, as they were validated. Raises ConfigError."""
    merged = Kept.of(config_path(Path.cwd() if project is None else project), overrides).read()
    if merged is not None and merged.settings is not None:
        with suppress(NotStorable, ValueError):  # other code than when it was kept
            settings: Settings = values.from_json(merged.settings, Settings)
            return settings
    return compose(None, None, overrides, project).settings


def _typed(merged: Merged, config_type: type[T] | None, composition: _Composition) -> Composed[T]:
    composed = document(merged.data, config_type, composition.origin)
    typed.check_allowed(composed.code, composed.settings.allowed_modules, composition.origin)
    return composed


@dataclass
class _Asked:
    """What several may ask for at once, and one composes."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    composed: Composed[Any] | None = None


class Composer:
    """Composes for one project, and has the newest again while no config file has changed.

    Composing takes tens of milliseconds, which a web hook may not. The environment is taken to
    stay as it is. Safe to call from several threads.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._asked = lru_cache(maxsize=KEPT)(lambda *_: _Asked())

    def stamp(self) -> object:
        """Another one when a config file has changed."""
        return config_path(self._project).stamp()

    def compose(
        self,
        config: str | None,
        config_type: type | None,
        overrides: Sequence[str] = (),
        *,
        flow_only: Sequence[str] = (),
    ) -> Composed[Any]:
        """As `flows.config.compose`; `flow_only` are more overrides, of its own keys.

        Raises ConfigError; that a config was wrong is not kept.
        """
        begun, stamp = time.time_ns(), config_path(self._project).stamp()
        with self._lock:
            asked = self._asked(config, config_type, tuple(overrides), tuple(flow_only), stamp)
        with asked.turn:
            if asked.composed is not None:
                return asked.composed
            check_own(flow_only)
            composed: Composed[Any] = compose(
                config, config_type, (*overrides, *flow_only), self._project
            )
            if settled(stamp, begun):
                asked.composed = composed
            return composed


class _Composition:
    """One composition: its data, and where each value of it came from."""

    def __init__(self, where: ConfigPath, root: schema.Group, given: Sequence[str]) -> None:
        self.where = where
        self.root = root
        self.given = given  # the overrides as the user wrote them

    @cached_property
    def _overrides(self) -> list[Override]:
        return overrides.parse(self.given)

    @cached_property
    def _lines(self) -> list[str]:
        checked = overrides.checked(self.where, self.root, self._overrides)
        return [_search_path(self.where), *checked]

    def merged(self) -> Merged:
        """Files and overrides; secrets are references, resolved paths are absolute."""
        from hydra import compose as hydra_compose
        from omegaconf import OmegaConf

        with _hydra(self.where), self._one_line():
            config = hydra_compose("main", overrides=self._lines)
            OmegaConf.update(config, "project", str(self.where.project), force_add=True)
            raw: Any = OmegaConf.to_container(config, resolve=False)
            self.check(raw)  # before a wrong key confuses the rest
            _anchor(config, self.where.project)
            return Merged(raw=raw, data=self._resolved(config))

    def check(self, raw: Any) -> None:
        """Refuse what nobody may write, whatever it would stand for. Raises ConfigError."""
        typed.check_keys(self.root, raw, self.origin)
        self._refuse_secrets_from_env(raw)
        typed.check_made_up(self.root, raw, self.origin)

    def origin(self, path: schema.KeyPath) -> str | None:
        """The override, or else the file and line, that gave the key at `path` its value."""
        override = overrides.origin(self.where, self._overrides, path)
        return override or self.where.origin(path, self._loaded)

    @cached_property
    def _loaded(self) -> list[tuple[str, str]]:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.types import RunMode

        with _hydra(self.where), self._one_line():
            loader = GlobalHydra.instance().config_loader()
            defaults = loader.compute_defaults_list("main", self._lines, RunMode.RUN).defaults
            files = [(str(d.config_path), d.package or "") for d in defaults]
            return [f for f in files if not f[0].startswith(f"{ENTRY}/")]

    def _refuse_secrets_from_env(self, raw: Any) -> None:
        for path, text in schema.texts(raw):
            if found := _SECRET_IN_ENV.search(text):
                raise ConfigError(
                    f"{schema.dotted(path)} would store the secret {found[1]} with the run "
                    f"({self.origin(path)}).",
                    hint=f"write ${{secret:{found[1].upper()}}} instead of ${{oc.env:...}}",
                )

    def _resolved(self, config: DictConfig) -> dict[str, Any]:
        from omegaconf import OmegaConf
        from omegaconf.errors import InterpolationResolutionError

        try:
            data = OmegaConf.to_container(config, resolve=True)
        except InterpolationResolutionError as error:
            path = schema.parse(str(error.full_key).replace("[", ".").replace("]", ""))
            raise messages.unresolved(self.root, path, error, self.origin(path)) from None
        assert isinstance(data, dict)
        return {str(k): v for k, v in data.items()}

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn what Hydra and YAML raise into one line for the config's writer."""
        from hydra.errors import HydraException, MissingConfigException
        from omegaconf.errors import OmegaConfBaseException

        try:
            yield
        except ConfigError:
            raise
        except yaml.YAMLError as error:
            raise messages.broken_yaml(self.where, error) from None
        except MissingConfigException as error:
            raise messages.missing_file(self.where, error) from None
        except UnicodeDecodeError:
            raise messages.not_text(self.where) from None
        except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
            raise messages.other(self.where, error) from None


@contextmanager
def _hydra(where: ConfigPath) -> Iterator[None]:
    """Hydra, initialized on the config path for as long as the block runs."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    with _HYDRA:
        if not OmegaConf.has_resolver("secret"):
            OmegaConf.register_new_resolver("secret", _reference)
        outside = GlobalHydra.instance().hydra  # an application's own Hydra, or our outer block
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(where.entry), version_base="1.3"):
                yield
        finally:
            GlobalHydra.instance().hydra = outside


def _reference(*names: object) -> str:
    name = ",".join(str(n) for n in names)
    if not _SECRET_NAME.fullmatch(name):
        raise ConfigError(
            f"${{secret:{name}}} is no name of a secret.",
            hint="name it like an environment variable: ${secret:PG_PASSWORD}",
        )
    return f"secret:{name}"


def _search_path(where: ConfigPath) -> str:
    quoted = (f"file://{f}".replace("\\", "\\\\").replace('"', '\\"') for f in where.folders)
    return "hydra.searchpath=[" + ",".join(f'"{q}"' for q in quoted) + "]"


def _anchor(config: DictConfig, project: Path) -> None:
    """Make relative paths absolute before other keys interpolate them."""
    from omegaconf import OmegaConf

    for key in (*PATHS, *DATABASES):
        value = OmegaConf.select(config, key, throw_on_missing=False)
        if isinstance(value, str):
            OmegaConf.update(config, key, anchored(key, value, project))

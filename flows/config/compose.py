"""The one file that imports Hydra: overrides and YAML files composed into plain data.

Hydra keeps global state, so everything that touches it holds one lock. It is imported in
the functions that need it: a stored config is read without it.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from flows.config import schema, typed
from flows.config.document import Composed, document, root_of, yaml_problem
from flows.config.sources import ENTRY, ConfigPath, config_path
from flows.core.errors import ConfigError
from flows.settings import Settings

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

T = TypeVar("T")

_HYDRA = threading.RLock()
_SECRET_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_SECRET_IN_ENV = re.compile(
    r"\$\{\s*oc\.env\s*:\s*['\"]?(\w*(?:PASSWORD|PASSWD|SECRET|TOKEN|KEY)\w*)", re.IGNORECASE
)
_PATHS = ("artifacts", "feature_store.uri", "registry.export_uri", "registry.artifact_uri")
_DATABASES = ("store.url", "registry.tracking_uri", "registry.ledger_url")


def compose(
    flow_config: str | None = None,
    config_type: type[T] | None = None,
    overrides: Sequence[str] = (),
    project: Path | None = None,
    *,
    flow_only: bool = False,
) -> Composed[T]:
    """The settings and one flow's config, from YAML files and overrides.

    `flow_config` names a file of conf/flow, `config_type` the dataclass that it fills; both
    None: the settings alone. `project` holds the team's own conf/ (default: the current
    folder). With `flow_only` (an override from the API) the settings cannot be overridden.
    Safe to call from several threads. Raises ConfigError, one line for the first mistake.
    """
    where = config_path(Path.cwd() if project is None else project)
    root = root_of(config_type)
    chosen = [] if flow_config is None else [f"flow={flow_config}"]
    lines = _checked(where, root, chosen, overrides, flow_only=flow_only)
    composition = _Composition(where, root, lines, overrides)
    return document(composition.data(), config_type, composition.origin)


def expand(overrides: Sequence[str], project: Path | None = None) -> list[list[str]]:
    """A sweep as the overrides of each of its runs, the last key varying fastest.

    "a=1,2 b=range(0,3)" gives six lists; choice(...), range(...) and glob(...) over the
    choices of a group are expanded, everything else is passed on as it is.
    Raises ConfigError for a sweep without end (interval) or without a value.
    """
    where = config_path(Path.cwd() if project is None else project)
    axes = [_axis(where, override) for override in _parse(overrides)]
    return [list(run) for run in itertools.product(*axes)]


# Overrides


def _parse(overrides: Sequence[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if not text.partition("=")[0].strip("+~ ") or ("=" not in text and text[0] != "~"):
            raise ConfigError(f'"{text}" is not an override.', hint="write key=value")
        try:
            parsed += parser.parse_overrides([text])
        except HydraException as error:
            said = [line for line in str(error).splitlines() if line and "hydra.cc" not in line]
            reason = "" if said[-1].lstrip().startswith("^") else f": {said[-1]}"
            raise ConfigError(
                f'The override "{text}" cannot be read{reason}.',
                hint="write key=value, and quote special characters: key='a, b'",
            ) from None
    return parsed


def _axis(where: ConfigPath, override: Override) -> list[str]:
    from hydra.core.override_parser.types import Glob

    text = str(override.input_line)
    if not override.is_sweep_override():
        return [text]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f'The override "{text}" has no end: a sweep needs single values.',
            hint=f"write {override.key_or_group}=range(...) or choice(...)",
        )
    value = override.value()
    if isinstance(value, Glob):
        values = value.filter(list(where.options(override.key_or_group)))
    else:
        values = list(override.sweep_string_iterator())
    if not values:
        raise ConfigError(f'The override "{text}" stands for no value at all.')
    return [f"{override.get_key_element()}={value}" for value in values]


def _checked(
    where: ConfigPath,
    root: schema.Group,
    chosen: Sequence[str],
    overrides: Sequence[str],
    *,
    flow_only: bool,
) -> list[str]:
    """The overrides as Hydra takes them, each key and choice known to exist."""
    groups = where.groups()
    lines: dict[str, None] = {}
    keys = set()
    for override in _parse(overrides):
        text, key = str(override.input_line), override.key_or_group
        keys.add(key)
        if override.is_sweep_override():
            raise ConfigError(
                f'The override "{text}" names several values, and a run takes one.',
                hint=f"add -m to run them all, or write a list: {key}=[...]",
            )
        if flow_only and key.split(".")[0].split("/")[0] in schema.group_of(Settings).fields:
            raise ConfigError(
                f"{key} is a setting of the installation; this run may not change it.",
                hint="set it in conf/config.yaml",
            )
        if _is_choice(override, groups):
            _check_choice(where, root, override)
            lines[text] = None
        else:
            lines[_forced(root, override)] = None
    for text in chosen:
        if "flow" not in keys:
            _check_choice(where, root, *_parse([text]))
    return [*(c for c in chosen if "flow" not in keys), *lines]


def _is_choice(override: Override, groups: Sequence[str]) -> bool:
    """Whether the override chooses in a config group (Hydra's rule), rather than sets a value."""
    return override.key_or_group in groups and not isinstance(override.value(), dict)


def _sets(override: Override, path: schema.Path) -> bool:
    """Whether the override gives the key at `path`, or a key below it, its value."""
    keys = _keys(override.key_or_group.replace("/", "."))
    if len(keys) > len(path):
        return keys[: len(path)] == path
    value = override.value()
    below = path[len(keys) :]
    inside = not below or not isinstance(value, dict) or below[0] in value
    return path[: len(keys)] == keys and inside


def _check_choice(where: ConfigPath, root: schema.Group, override: Override) -> None:
    group, choice = override.key_or_group, override.value()
    text = f"override {override.input_line}"
    top = group.split("/")[0]
    if top != "flow" and top not in root.fields:
        raise typed.unknown_key(root, (top,), text)
    options = where.options(group)
    if override.is_delete() or (isinstance(choice, str) and choice in options):
        return
    if choice is None:
        raise ConfigError(f"{group}=null chooses nothing.", hint=f"write ~{group} to leave it out")
    close = schema.close(str(choice), options)
    raise ConfigError(
        f"There is no {group}={choice}: {f'did you mean {close}? ' if close else ''}"
        f"The choices are {', '.join(options)}.",
        hint=f"use {group}={close}" if close else f"or write conf/{group}/{choice}.yaml",
    )


def _forced(root: schema.Group, override: Override) -> str:
    """The override of a value that the schema knows, whether a YAML file writes it or not."""
    text = str(override.input_line)
    path = _keys(override.key_or_group.replace("/", "."))
    if schema.at(root, path) is None:
        raise typed.unknown_key(root, path, f"override {text}")
    return text if override.is_delete() else f"++{text.lstrip('+')}"


def _keys(dotted: str) -> schema.Path:
    return tuple(int(k) if k.isdigit() else k for k in dotted.split("."))


# Composition


class _Composition:
    """One composition: its data, and where each value of it came from."""

    def __init__(
        self, where: ConfigPath, root: schema.Group, lines: Sequence[str], given: Sequence[str]
    ) -> None:
        self.where = where
        self.root = root
        self.lines = [_search_path(where), *lines]
        self.given = given

    def data(self) -> dict[str, Any]:
        """The resolved config; secrets are references, paths are absolute."""
        from hydra import compose as hydra_compose
        from omegaconf import OmegaConf

        with _hydra(self.where), self._one_line():
            config = hydra_compose("main", overrides=self.lines)
            raw = OmegaConf.to_container(config, resolve=False)
            typed.check_keys(self.root, raw, self.origin)  # before a wrong key confuses the rest
            self._refuse_secrets_from_env(raw)
            _anchor(config, self.where.project)
            return self._resolved(config)

    def origin(self, path: schema.Path) -> str | None:
        """The override, or else the file and line, that gave the key at `path` its value."""
        for override in reversed(_parse(self.given)):
            if not self._is_choice(override) and _sets(override, path):
                return f"override {override.input_line}"
        return self.where.origin(path, self._loaded)

    def _is_choice(self, override: Override) -> bool:
        return _is_choice(override, self.where.groups())

    @cached_property
    def _loaded(self) -> list[tuple[str, str]]:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.types import RunMode

        with _hydra(self.where), self._one_line():
            loader = GlobalHydra.instance().config_loader()
            defaults = loader.compute_defaults_list("main", self.lines, RunMode.RUN).defaults
            files = [(str(d.config_path), d.package or "") for d in defaults]
            return [f for f in files if not f[0].startswith(f"{ENTRY}/")]

    def _refuse_secrets_from_env(self, raw: Any) -> None:
        for path, text in _texts(raw):
            if found := _SECRET_IN_ENV.search(text):
                raise ConfigError(
                    f"{schema.dotted(path)} would store the secret {found[1]} with the run"
                    f"{self._place(path)}.",
                    hint=f"write ${{secret:{found[1].upper()}}} instead of ${{oc.env:...}}",
                )

    def _resolved(self, config: DictConfig) -> dict[str, Any]:
        from omegaconf import OmegaConf
        from omegaconf.errors import InterpolationResolutionError

        try:
            data = OmegaConf.to_container(config, resolve=True)
        except InterpolationResolutionError as error:
            path = _keys(str(error.full_key).replace("[", ".").replace("]", ""))
            if isinstance(error.__cause__, ConfigError):
                raise error.__cause__ from None
            reason = str(error).splitlines()[0].rstrip(".")
            raise ConfigError(
                f"{schema.dotted(path)} cannot be resolved: {reason}{self._place(path)}.",
                hint=_interpolation_hint(self.root, reason),
            ) from None
        assert isinstance(data, dict)
        return {str(k): v for k, v in data.items()}

    def _place(self, path: schema.Path) -> str:
        return f" ({place})" if (place := self.origin(path)) else ""

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn what Hydra and YAML raise into one line for the config's writer."""
        from hydra.errors import HydraException, MissingConfigException
        from omegaconf.errors import OmegaConfBaseException

        try:
            yield
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            file = self.where.shown(Path(mark.name)) if mark else "a config file"
            raise ConfigError(
                f"{file} is not valid YAML: {yaml_problem(error)}.", hint=f"correct {file}"
            ) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"A config file is not valid: {yaml_problem(error)}.") from None
        except MissingConfigException as error:
            raise self._missing_file(error) from None
        except (HydraException, OmegaConfBaseException) as error:
            raise _hydra_said(error) from None

    def _missing_file(self, error: Any) -> ConfigError:
        name = str(error.missing_cfg_file or "")
        group, _, choice = name.rpartition("/")
        said = str(error).splitlines()[0]
        asked = re.match(r"In '([^']+)'", said)
        file = self.where.file(asked[1]) if asked else None
        place = f" ({self.where.shown(file)})" if file else ""
        options = self.where.options(group) if group else ()
        close = schema.close(choice, options)
        meant = f": did you mean {close}?" if close else "."
        listed = f" The choices are {', '.join(options)}." if options else ""
        return ConfigError(
            f"There is no config file {name}.yaml{place}{meant}{listed}",
            hint=f"use {group}={close}" if close else f"write conf/{name}.yaml",
        )


def _hydra_said(error: BaseException) -> ConfigError:
    text = str(error) or str(error.__cause__ or error.__context__ or type(error).__name__)
    first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
    group = re.match(r"Could not override '([^']+)'\. No match in the defaults list", first)
    if group:
        return ConfigError(
            f"{group[1]} is not chosen in any defaults list, so there is nothing to override.",
            hint=f"write +{group[1]}=..., or add it to the defaults of the flow's config",
        )
    return ConfigError(first, hint=rest[0] if rest else None)


def _interpolation_hint(root: schema.Group, reason: str) -> str | None:
    if key := re.match(r"Interpolation key '([^']+)' not found", reason):
        meant = schema.nearest(root, _keys(key[1]))
        return f"did you mean ${{{meant}}}?" if meant else "give an existing key"
    if "Environment variable" in reason:
        return "set it, or give a default: ${oc.env:NAME,default}"
    return "known are ${key}, ${oc.env:NAME,default} and ${secret:NAME}"


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


def _reference(name: str) -> str:
    if not _SECRET_NAME.fullmatch(str(name)):
        raise ConfigError(
            f"${{secret:{name}}} is no name of a secret.",
            hint="name it like an environment variable: ${secret:PG_PASSWORD}",
        )
    return f"secret:{name}"


def _search_path(where: ConfigPath) -> str:
    quoted = (f"file://{f}".replace("\\", "\\\\").replace('"', '\\"') for f in where.folders)
    return "hydra.searchpath=[" + ",".join(f'"{q}"' for q in quoted) + "]"


def _texts(data: Any, path: schema.Path = ()) -> Iterator[tuple[schema.Path, str]]:
    if isinstance(data, str):
        yield path, data
    pairs = data.items() if isinstance(data, Mapping) else ()
    pairs = enumerate(data) if isinstance(data, list) else pairs
    for key, value in pairs:
        yield from _texts(value, (*path, key))


# Paths


def _anchor(config: DictConfig, project: Path) -> None:
    """Make relative paths absolute, from the project, before others interpolate them."""
    from omegaconf import OmegaConf

    def change(key: str, anchored: Any) -> None:
        value = OmegaConf.select(config, key, throw_on_missing=False)
        if isinstance(value, str) and not value.startswith("secret:"):
            OmegaConf.update(config, key, anchored(value, project))

    OmegaConf.update(config, "project", str(project), force_add=True)
    change("home", _absolute)
    for key in _PATHS:
        change(key, _absolute)
    for key in _DATABASES:
        change(key, _absolute_sqlite)


def _absolute(path: str, project: Path) -> str:
    if "://" in path:
        return path
    return os.path.normpath(project / Path(path).expanduser())


def _absolute_sqlite(url: str, project: Path) -> str:
    scheme, separator, path = url.partition(":///")
    in_file = scheme.startswith("sqlite") and separator and path and not path.startswith(":")
    return f"{scheme}:///{_absolute(path, project)}" if in_file else url

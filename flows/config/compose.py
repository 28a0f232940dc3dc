"""The one file that imports Hydra: overrides and YAML files composed into plain data.

Hydra keeps global state, so everything that touches it holds one lock. It is imported in
the functions that need it: a stored config is read without it.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from flows.config import messages, schema, typed
from flows.config.document import Composed, document, root_of
from flows.config.kept import Kept, Merged
from flows.config.paths import DATABASES, PATHS, anchored
from flows.config.sources import ENTRY, ConfigPath, config_path
from flows.core.errors import ConfigError
from flows.core.masking import mask, refers_to_secret
from flows.core.validity import PLACEHOLDER
from flows.settings import Settings

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

T = TypeVar("T")

LONGEST = 4096
"""Characters of an override from outside."""

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
    kept.write(merged)
    return composed


def _typed(merged: Merged, config_type: type[T] | None, composition: _Composition) -> Composed[T]:
    composed = document(merged.data, config_type, composition.origin)
    typed.check_allowed(composed.code, composed.settings.allowed_modules, composition.origin)
    return composed


def check_own(overrides: Sequence[str]) -> None:
    """Refuse overrides of anything but the flow's own keys, by plain values.

    No settings, and no interpolations, which could read the environment. Raises ConfigError.
    """
    for override in _parse(overrides):
        _check_own(override)


def check_outside(overrides: Sequence[str], config_type: type[Any] | None) -> None:
    """Refuse overrides that nobody outside the installation may give.

    They choose, and set values of, the flow's own config. They name no code: a choice in a group
    says enough. They refer to no secret. Raises ConfigError, one line for the first mistake.
    """
    root = root_of(config_type)
    if any(len(text) > LONGEST for text in overrides):  # reading takes by the square of it
        raise ConfigError(
            f"An override from outside has at most {LONGEST} characters.",
            hint="write a config of the project, and choose it",
        )
    for override in _parse(overrides):
        _check_own(override)
        if PLACEHOLDER.search(str(override.input_line)):
            raise ConfigError(
                f"{override.key_or_group} may hold no {{at}} from outside.",
                hint="write the time itself",
            )
        for path, value in schema.nodes(override.value(), schema.parse(override.key_or_group)):
            _check_value(root, path, value)


def _check_value(root: schema.Group, path: schema.KeyPath, value: Any) -> None:
    if schema.names_code(root, path):
        raise ConfigError(
            f"{schema.dotted(path)} names code, which may not be named from outside.",
            hint="choose one of the project's configs, such as trainer=xgboost",
        )
    if isinstance(value, str) and refers_to_secret(value):
        raise ConfigError(
            f"{schema.dotted(path)} may refer to no secret from outside.",
            hint="set it in a config of the project",
        )


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
            raise ConfigError(f'"{mask(text)}" is not an override.', hint="write key=value")
        try:
            parsed += parser.parse_overrides([text])
        except (HydraException, RecursionError, ValueError) as error:
            raise messages.unreadable_override(text, error) from None
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
    value: Any = override.value()
    if isinstance(value, Glob):
        values = value.filter(list(where.options(override.key_or_group)))
    else:
        values = list(override.sweep_string_iterator())
    if not values:
        raise ConfigError(f'The override "{text}" stands for no value at all.')
    return [f"{override.get_key_element()}={value}" for value in values]


def _checked(where: ConfigPath, root: schema.Group, given: Sequence[str]) -> list[str]:
    """The overrides as Hydra takes them, each key and choice known to exist."""
    groups = where.groups()
    choices: dict[str, str] = {}  # of several choices in a group the last wins, as for values
    values: list[str] = []
    for override in _parse(given):
        _check_single(override)
        if _is_choice(override, groups):
            _check_choice(where, root, override)
            choices[override.get_key_element().lstrip("+~")] = str(override.input_line)
        else:
            values.append(_forced(root, override))
    return [*choices.values(), *values]


def _check_single(override: Override) -> None:
    key, text = override.key_or_group, str(override.input_line)
    if override.is_sweep_override():
        raise ConfigError(
            f'The override "{mask(text)}" names several values, and a run takes one.',
            hint=f"add -m to run them all, or write a list: {key}=[...]",
        )
    if key == "project":
        raise ConfigError(
            "project is no setting to override.", hint="give the folder with --project"
        )


def _check_own(override: Override) -> None:
    _check_single(override)
    key = override.key_or_group
    if schema.parse(key)[0] in schema.keys_of(Settings) or override.package is not None:
        raise ConfigError(
            f"{override.get_key_element()} is a setting of the installation; "
            "a run may not change it.",
            hint="set it in conf/config.yaml",
        )
    if any("${" in value for _, value in schema.texts(override.value())):
        raise ConfigError(f"{key} may not be an interpolation here.", hint="give the value itself")


def _is_choice(override: Override, groups: Sequence[str]) -> bool:
    """Whether the override chooses in a config group (Hydra's rule), rather than sets a value."""
    return override.key_or_group in groups and not isinstance(override.value(), dict)


def _place(override: Override) -> str:
    return f"override {mask(str(override.input_line))}"


def _sets(override: Override, path: schema.KeyPath) -> bool:
    """Whether the override gives the key at `path`, or a key below it, its value."""
    keys = schema.parse(override.key_or_group)
    if len(keys) > len(path):
        return keys[: len(path)] == path
    value = override.value()
    below = path[len(keys) :]
    inside = not below or not isinstance(value, dict) or below[0] in value
    return path[: len(keys)] == keys and inside


def _check_choice(where: ConfigPath, root: schema.Group, override: Override) -> None:
    group, choice = override.key_or_group, override.value()
    top = group.split("/")[0]
    if top != "flow" and top not in root.fields:
        raise typed.unknown_key(root, (top,), _place(override))
    options = where.options(group)
    if override.is_delete() or (isinstance(choice, str) and choice in options):
        return
    if choice is None:
        raise ConfigError(f"{group}=null chooses nothing.", hint=f"write ~{group} to leave it out")
    close = schema.close(str(choice), options)
    raise ConfigError(
        f"There is no {group}={choice}{f': did you mean {close}?' if close else '.'}"
        f" The choices are {', '.join(options)}.",
        hint=f"use {group}={close}" if close else _to_write(group, str(choice)),
    )


def _to_write(group: str, choice: str) -> str:
    begin = f", with {typed.FIRST_LINE} as its first line" if group == "flow" else ""
    return f"use one of these, or write conf/{group}/{choice}.yaml{begin}"


def _forced(root: schema.Group, override: Override) -> str:
    """The override of a value that the schema knows, whether a YAML file writes it or not."""
    text = str(override.input_line)
    path = schema.parse(override.key_or_group)
    if schema.at(root, path) is None:
        raise typed.unknown_key(root, path, _place(override))
    return text if override.is_delete() else f"++{text.lstrip('+')}"


# Composition


class _Composition:
    """One composition: its data, and where each value of it came from."""

    def __init__(self, where: ConfigPath, root: schema.Group, given: Sequence[str]) -> None:
        self.where = where
        self.root = root
        self.given = given  # the overrides as the user wrote them

    @cached_property
    def _lines(self) -> list[str]:
        return [_search_path(self.where), *_checked(self.where, self.root, self.given)]

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
        groups = self.where.groups()
        for override in reversed(_parse(self.given)):
            if not _is_choice(override, groups) and _sets(override, path):
                return _place(override)
        return self.where.origin(path, self._loaded)

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

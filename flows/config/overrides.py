"""Overrides of a config: read by Hydra's grammar, and held against what there is to override.

Hydra is imported in the functions that need it: a stored config is read without it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.config import messages, schema, typed
from flows.config.document import root_of
from flows.config.sources import ConfigPath, config_path
from flows.core.errors import ConfigError
from flows.core.masking import mask, refers_to_secret
from flows.core.validity import PLACEHOLDER
from flows.settings import Settings

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

LONGEST = 4096
"""Characters of an override from outside."""


def check_own(overrides: Sequence[str]) -> None:
    """Refuse overrides of anything but the flow's own keys, by plain values.

    No settings, and no interpolations, which could read the environment. Raises ConfigError.
    """
    for override in parse(overrides):
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
    for override in parse(overrides):
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
    axes = [_axis(where, override) for override in parse(overrides)]
    return [list(run) for run in itertools.product(*axes)]


def parse(overrides: Sequence[str]) -> list[Override]:
    """Overrides as Hydra reads them. Raises ConfigError for the first that it cannot read."""
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


def checked(where: ConfigPath, root: schema.Group, parsed: Sequence[Override]) -> list[str]:
    """The overrides as Hydra takes them, each key and choice known to exist."""
    groups = where.groups()
    choices: dict[str, str] = {}  # of several choices in a group the last wins, as for values
    values: list[str] = []
    for override in parsed:
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


def origin(where: ConfigPath, parsed: Sequence[Override], path: schema.KeyPath) -> str | None:
    """The override that gave the key at `path` its value; None: none did."""
    groups = where.groups()
    for override in reversed(parsed):
        if not _is_choice(override, groups) and _sets(override, path):
            return _place(override)
    return None


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

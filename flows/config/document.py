"""A composed config: typed, as YAML, with its digest; stored with a run and read back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import yaml

from flows.config import schema, typed
from flows.core.errors import ConfigError
from flows.core.masking import plain_password, refers_to_secret
from flows.settings import Settings
from ray_jobs import BUILT_IN_MODULES

T = TypeVar("T")

_WHERE = (
    *("artifacts", "store", "ray", "alerts", "flows", "allowed_modules", "executor", "workers"),
    *("schedules", "pools", "api"),
)
"""Settings that say where and how a run works, and leave what it computes as it is."""


@dataclass(frozen=True, kw_only=True)
class Composed(Generic[T]):
    """The config of one run, complete: every default is written out, no secret is in it."""

    settings: Settings  # what the installation decides
    flow: T | None  # the flow's own config; None when it has none
    data: dict[str, Any]  # both as plain data, keys at one level
    yaml: str  # `data` as YAML: what the run stores
    digest: str  # sha256 of what the run computes: the flow's config and its data sources
    code: Mapping[schema.KeyPath, str]  # the dotted paths in it, by their keys


class Change(NamedTuple):
    """A key whose value differs between two configs; None: absent."""

    key: str
    old: Any
    new: Any


def document(
    data: Mapping[str, Any], config_type: type[T] | None, origin: typed.Origin = typed.nowhere
) -> Composed[T]:
    """Validate plain data into a Composed. Raises ConfigError for the first mistake in it."""
    root = root_of(config_type)
    typed.check_keys(root, data, origin)
    _refuse_passwords(data, origin)
    own = schema.keys_of(Settings)
    settings = _trusting(typed.build(Settings, {k: v for k, v in data.items() if k in own}, origin))
    rest = {k: v for k, v in data.items() if k not in own}
    flow = None if config_type is None else typed.build(config_type, rest, origin)
    complete = typed.plain(settings.for_runs()) | ({} if flow is None else typed.plain(flow))
    text = yaml.safe_dump(complete, sort_keys=False, allow_unicode=True, width=1000)
    return Composed(
        settings=settings,
        flow=flow,
        data=complete,
        yaml=text,
        digest=_digest(complete),
        code={key: v for key, v in schema.texts(complete) if schema.names_code(root, key)},
    )


def _trusting(settings: Settings) -> Settings:
    """The settings with all allowed modules: ours, the flows' own packages, and those declared."""
    packages = (module.split(".")[0] for module in settings.flows)
    allowed = dict.fromkeys((*BUILT_IN_MODULES, *packages, *settings.allowed_modules))
    return replace(settings, allowed_modules=tuple(allowed))


def root_of(config_type: type | None) -> schema.Group:
    """The keys of the settings and of a flow's config, which stand at one level."""
    return schema.merge(Settings) if config_type is None else schema.merge(Settings, config_type)


def load(text: str, config_type: type[T] | None = None) -> Composed[T]:
    """The config that a run stored, typed again; nothing is composed anew.

    Raises ConfigError when the text is no YAML or does not fit `config_type` any more.
    """
    return document(_mapping(text), config_type)


def recorded(text: str, here: Settings) -> Settings:
    """The settings that a run was recorded with, as far as this release reads them.

    Another release may have written them: what is unknown here is left alone, and a value that
    does not fit is that of `here`. For looking at a run and ending it; raises nothing.
    """
    try:
        data = _mapping(text)
    except ConfigError:
        return here
    while unknown := schema.first_unknown(Settings, data):
        _leave_out(data, unknown)
    settings, complete = here, typed.plain(here)
    for name, value in data.items():
        with suppress(ConfigError):
            read = typed.build(Settings, complete | {name: value}, typed.nowhere)
            settings = replace(settings, **{name: getattr(read, name)})
    return _trusting(settings)


def _leave_out(data: Any, path: schema.KeyPath) -> None:
    for key in path[:-1]:
        data = data[key]
    del data[path[-1]]


def diff(old: str, new: str) -> list[Change]:
    """The keys whose values differ between two stored configs, in the order of the newer one."""
    before, after = _flat(_mapping(old)), _flat(_mapping(new))
    keys = list(after) + [k for k in before if k not in after]
    changes = (Change(k, before.get(k), after.get(k)) for k in keys)
    return [c for c in changes if c.old != c.new and not _is_filled(c, before, after)]


def _is_filled(change: Change, *configs: Mapping[str, Any]) -> bool:
    """Whether an empty group got its first keys, or lost its last: they are changes themselves."""
    below = f"{change.key}."
    empty = {} in (change.old, change.new)
    return empty and any(key.startswith(below) for config in configs for key in config)


def _mapping(text: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The stored config is not YAML: {yaml_problem(error)}.") from None
    if not isinstance(data, dict):
        raise ConfigError("The stored config is not a mapping of keys to values.")
    return data


def yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, in one line."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"{error.problem or error.context}{where}"
    return " ".join(str(error).split())


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _refuse_passwords(data: Any, origin: typed.Origin) -> None:
    """A password or secret in plain text would be stored with every run."""
    for path, text in schema.texts(data):
        plain_secret = path == ("api", "webhook_secret") and not refers_to_secret(text)
        if plain_secret or plain_password(text):
            place = origin(path) or ""
            place = place.replace(text, "***") if text else place
            raise ConfigError(
                f"{schema.dotted(path)} holds a {'secret' if plain_secret else 'password'}"
                " in plain text"
                f"{f' ({place})' if place else ''}.",
                hint="put ${secret:NAME} in its place, and set the environment variable NAME",
            )


def _digest(data: Mapping[str, Any]) -> str:
    """sha256 over canonical JSON, the same wherever the project and its home lie."""
    matters = {k: v for k, v in data.items() if k not in (*_WHERE, "home", "project")}
    text = json.dumps(matters, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for name in ("home", "project"):
        folder = json.dumps(data[name], ensure_ascii=False)[1:-1]
        text = re.sub(rf'{re.escape(folder)}(?=["/\\?])', f"<{name}>", text)
    return hashlib.sha256(text.encode()).hexdigest()

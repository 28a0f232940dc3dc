"""What Hydra, OmegaConf and YAML say, in one line for the writer of a config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from flows.config import schema
from flows.config.document import yaml_problem
from flows.config.sources import ConfigPath
from flows.core.errors import ConfigError
from flows.core.masking import mask


def unreadable_override(text: str, error: Exception) -> ConfigError:
    """An override that Hydra's grammar does not take."""
    said = [line for line in str(error).splitlines() if line and "hydra.cc" not in line]
    reason = "" if not said or said[-1].lstrip().startswith("^") else f": {said[-1]}"
    return ConfigError(
        f'The override "{mask(text)}" cannot be read{reason}.',
        hint="write key=value, and quote special characters: key='a, b'",
    )


def broken_yaml(where: ConfigPath, error: yaml.YAMLError) -> ConfigError:
    """A file that is no YAML, with its line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    file = where.shown(Path(mark.name)) if mark else "A config file"
    return ConfigError(f"{file} is not valid YAML: {yaml_problem(error)}.", hint=f"correct {file}")


def missing_file(where: ConfigPath, error: Any) -> ConfigError:
    """A defaults list names a file that does not exist (MissingConfigException)."""
    name = str(error.missing_cfg_file or "")
    group, _, choice = name.rpartition("/")
    asked = re.match(r"In '([^']+)'", str(error))
    file = where.file(asked[1]) if asked else None
    place = f" ({where.shown(file)})" if file else ""
    options = where.options(group) if group else ()
    close = schema.close(choice, options)
    meant = f": did you mean {close}?" if close else "."
    listed = f" The choices are {', '.join(options)}." if options else ""
    return ConfigError(
        f"There is no config file {name}.yaml{place}{meant}{listed}",
        hint=f"use {group}={close}" if close else f"write conf/{name}.yaml",
    )


def not_text(where: ConfigPath) -> ConfigError:
    """A file that cannot be decoded; Python does not say which."""
    return ConfigError(
        f"{where.not_text() or 'A config file'} is not UTF-8 text.", hint="save it as UTF-8"
    )


def other(where: ConfigPath, error: BaseException) -> ConfigError:
    """Everything else that Hydra and OmegaConf raise while they compose."""
    text = str(error) or str(error.__cause__ or error.__context__ or type(error).__name__)
    first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
    if group := re.search(r"Could not override '([^']+)'\. No match in the defaults", first):
        return ConfigError(
            f"{group[1]} is not chosen in any defaults list, so there is nothing to override.",
            hint=f"write +{group[1]}=..., or add it to the defaults of the flow's config",
        )
    if part := re.search(r" at input '(.+)'$", first):
        place = where.containing(part[1])
        return ConfigError(
            f"The interpolation {part[1]} cannot be read{f' ({place})' if place else ''}.",
            hint="write ${key}, ${oc.env:NAME,default} or ${secret:NAME}",
        )
    if file := re.match(r"In '([^']+)': \w+ raised while composing config", first):
        path = where.file(file[1])
        reason = rest[0].rstrip(".") if rest else "its values do not fit"
        return ConfigError(
            f"{where.shown(path) if path else file[1]} cannot be merged: {reason}.",
            hint="give each key a list, or a mapping (key: value), as the file before has it",
        )
    hints = [line for line in rest if not line.startswith(("full_key:", "object_type="))]
    return ConfigError(first, hint=hints[0] if hints else None)


def unresolved(
    root: schema.Group, path: schema.KeyPath, error: BaseException, origin: str | None
) -> ConfigError:
    """An interpolation of a key, variable or resolver that does not exist."""
    said = str(error).splitlines()[0].rstrip(".")
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", said).strip('"')
    hint = None
    if key := re.match(r"Interpolation key '([^']+)' not found", reason):
        meant = schema.nearest(root, schema.parse(key[1]))
        hint = f"did you mean ${{{meant}}}?" if meant else "give an existing key"
    elif "Environment variable" in reason:
        hint = "set it, or give a default: ${oc.env:NAME,default}"
    elif "Unsupported interpolation type" in reason:
        hint = "known are ${key}, ${oc.env:NAME,default} and ${secret:NAME}"
    return ConfigError(
        f"{schema.dotted(path)} cannot be resolved: {reason}{f' ({origin})' if origin else ''}.",
        hint=hint,
    )

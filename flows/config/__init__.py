"""Configuration: Hydra YAML and overrides in, typed frozen dataclasses out.

    compose(flow, type, overrides, project)   what a run uses, validated, with its digest
    compose_settings(overrides, project)      the installation's part of it, at once
    check_own(overrides)                      of the flow's own keys alone, by plain values
    check_outside(overrides, type)            and what nobody outside may say at all
    expand(overrides)                         a sweep as the list of its runs' overrides
    load(yaml, type)                          the same again from a stored run, without Hydra
    recorded(yaml, settings)                  its settings, whichever release stored it
    diff(old, new)                            what changed between two runs

Values of a config, from weakest to strongest: the dataclass's default, ``conf/`` of
Ratchet, ``<project>/conf/``, the flow's own file, overrides. Every mistake is a
ConfigError: one line with the key, the nearest valid key or the expected type, and where
the value came from.
"""

from flows.config.compose import Composer, compose, compose_settings
from flows.config.document import Change, Composed, diff, load, recorded
from flows.config.overrides import check_outside, check_own, expand

__all__ = [
    "Change",
    "Composed",
    "Composer",
    "check_outside",
    "check_own",
    "compose",
    "compose_settings",
    "diff",
    "expand",
    "load",
    "recorded",
]

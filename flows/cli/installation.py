"""The Ratchet that a command works with: opened for it, and closed after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

import registry
from flows.bootstrap import Ratchet, bootstrap
from flows.cli.app import GlobalOptions
from flows.config import compose_settings, recorded
from flows.core.errors import ConfigError
from flows.core.flow import Flow
from flows.core.store import RunDetail
from flows.settings import Settings, revealed


def settings_of(context: typer.Context) -> Settings:
    """The settings of the global options. Raises ConfigError, also where `--home` is overruled."""
    options: GlobalOptions = context.find_root().obj
    settings = compose_settings(project=options.project)
    if options.home is not None:
        wanted = options.home.expanduser().absolute()
        if Path(settings.home).resolve() != wanted.resolve():
            raise ConfigError(
                f"this project's config sets home to {settings.home}, whatever --home says",
                hint="write home: ${oc.env:RATCHET_HOME,.ratchet} in conf/config.yaml",
            )
    return settings


@contextmanager
def opened(context: typer.Context) -> Iterator[Ratchet]:
    """The Ratchet of the global options. Raises ConfigError, StoreError."""
    ratchet = bootstrap(settings_of(context))
    try:
        yield ratchet
    finally:
        ratchet.close()


@contextmanager
def for_overrides(ratchet: Ratchet, flow: Flow, overrides: Sequence[str]) -> Iterator[Ratchet]:
    """The Ratchet for runs with these overrides, which may change settings (`ray=cluster`)."""
    settings = ratchet.compose(flow, overrides).settings
    if settings == ratchet.settings:
        yield ratchet
        return
    other = bootstrap(settings)
    try:
        yield other
    finally:
        other.close()


def for_recorded(ratchet: Ratchet, detail: RunDetail) -> Ratchet:
    """The Ratchet for a run that exists: its own Ray, executor and alerts, in this place."""
    here = ratchet.settings
    merged = replace(
        recorded(detail.config_yaml, here),
        project=here.project,
        home=here.home,
        store=here.store,
        pools=here.pools,
    )
    return replace(ratchet, settings=merged)


def recorded_artifacts(ratchet: Ratchet, detail: RunDetail) -> str:
    """The artifact store that a run was started with."""
    return recorded(detail.config_yaml, ratchet.settings).artifacts


def connected_registry(ratchet: Ratchet) -> registry.Registry:
    """The registry of this installation, for a ``with`` block."""
    return registry.connect(revealed(ratchet.settings.registry))


def read_registry(ratchet: Ratchet) -> registry.Reader:
    """The same for who only reads: at once, without MLflow's import."""
    return registry.Reader(revealed(ratchet.settings.registry))

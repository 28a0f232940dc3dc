"""Workers of several machines need one ledger: two would know two champions."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from flows.core.errors import ConfigError
from flows.core.identity import LONGEST_HOST
from flows.settings import Settings
from registry.locks import sqlite_path


def refuse_own_ledger(settings: Settings, workers: Iterable[str]) -> None:
    """Raise ConfigError where other machines are at work, and the ledger is a file of this one.

    `workers`: who is alive, by their identities.
    """
    here = socket.gethostname()[:LONGEST_HOST]
    others = sorted({host for name in workers if (host := name.partition("/")[0]) != here})
    files = [
        name
        for name in ("ledger_url", "tracking_uri")
        if sqlite_path(getattr(settings.registry, name)) is not None
    ]
    if others and files:
        raise ConfigError(
            f"registry.{files[0]} is a file of this machine, and {', '.join(others)} "
            f"{'works' if len(others) == 1 else 'work'} on the same store: each machine would "
            "have champions of its own",
            hint="set registry=server on every machine",
        )

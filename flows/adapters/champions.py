"""Whether somebody else moved a champion's alias, looked up without importing MLflow.

MLflow takes 185 MB and seconds to import, too much for a look every minute. So the alias is read
from where MLflow keeps it: by REST from a server, by one query from a database. Only models that
have a ledger are looked at; what the ledger says is the champion's status, as the registry decides.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from flows.core.alert import Alert, champion_changed
from flows.core.clock import Clock
from flows.core.errors import RatchetError
from flows.core.store import Store
from flows.settings import Settings, mask, revealed
from registry import ChampionStatus, RegistryError, RegistryUnreachable
from registry.champion import ALIAS, NO_VERSION, status_of
from registry.ledger import Ledger
from registry.locks import sqlite_path

LOOK_ROUND = 60.0
"""Seconds between two looks."""
TIMEOUT = 5.0
"""Seconds that an MLflow server gets to answer."""
_log = logging.getLogger(__name__)
_WORKSPACE = "default"

AliasOf = Callable[[str], str | None]
"""Model -> the version that its champion alias names; None: there is no alias, or no model."""


class ChampionWatch:
    """Looks for outsiders' changes once a minute, and posts an alert for each, once."""

    def __init__(self, settings: Settings, store: Store, *, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._said: str | None = None  # the last problem, so that it is not said every minute

    def serve(self, stop: threading.Event) -> None:
        """Look until `stop` is set; a registry or a store that is away is waited for."""
        while not stop.is_set():
            try:
                self.tick(self._clock.now())
                self._said = None
            except (RegistryError, RatchetError) as error:
                if self._said != str(error):
                    self._said = str(error)
                    _log.warning("champions cannot be watched: %s", error)
            self._clock.wait(stop, LOOK_ROUND)

    def tick(self, now: datetime) -> list[Alert]:
        """Look once; returns what was not told before. Raises RegistryError, StoreError."""
        return self._store.outbox.post(changed_outside(self._settings, now), now)


def changed_outside(settings: Settings, now: datetime) -> tuple[Alert, ...]:
    """An alert for each model whose alias is not the ledger's; its key names this very change.

    Raises RegistryUnreachable when the ledger or MLflow cannot be read.
    """
    config = revealed(settings.registry)
    path = sqlite_path(config.ledger_url)
    if path is not None and not path.exists():
        return ()  # nothing was ever promoted
    with _reading("the ledger", config.ledger_url) as engine:
        if not inspect(engine).has_table("ledger_entry"):
            return ()
        ledger = Ledger(engine)
        if not (models := ledger.models()):
            return ()
        with _aliases(config.tracking_uri) as alias_of:
            found = [_status(ledger, alias_of, model) for model in models]
    return tuple(
        champion_changed(s.model, s.epoch, s.version, _named(s.outsider), now)
        for s in found
        if s is not None and s.outsider is not None
    )


def _status(ledger: Ledger, alias_of: AliasOf, model: str) -> ChampionStatus | None:
    """The champion by ledger and alias; None when it changed while it was looked at.

    The ledger is read before and after: a promotion appends its entry before it moves the alias.
    """
    before = ledger.head(model)
    alias = alias_of(model)
    return status_of(model, before, alias) if ledger.head(model) == before else None


def _named(outsider: str | None) -> str | None:
    return None if outsider == NO_VERSION else outsider


@contextmanager
def _aliases(uri: str) -> Iterator[AliasOf]:
    if uri.startswith(("http://", "https://")):
        yield lambda model: _from_server(uri, model)
        return
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise _unreachable("MLflow", uri, f"there is no file {path}")
    with _reading("MLflow", uri) as engine:
        yield lambda model: _from_database(engine, model)


def _from_database(engine: Engine, model: str) -> str | None:
    query = text("SELECT * FROM registered_model_aliases WHERE name = :model AND alias = :alias")
    workspace = os.environ.get("MLFLOW_WORKSPACE", _WORKSPACE)
    with engine.connect() as connection:
        for row in connection.execute(query, {"model": model, "alias": ALIAS}).mappings():
            if row.get("workspace", workspace) == workspace:
                return str(row["version"])
    return None


def _from_server(uri: str, model: str) -> str | None:
    address, headers = _request_to(uri)
    query = urlencode({"name": model})
    url = f"{address}/api/2.0/mlflow/registered-models/get?{query}"
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
            found = json.load(answer)["registered_model"]
    except HTTPError as error:
        if _error_code(error) == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise _unreachable("MLflow", uri, f"it answers {error.code} {error.reason}") from error
    except (URLError, OSError, ValueError, KeyError) as error:
        raise _unreachable("MLflow", uri, error) from error
    aliases = found.get("aliases", [])
    return next((str(a["version"]) for a in aliases if a.get("alias") == ALIAS), None)


def _error_code(error: HTTPError) -> str | None:
    try:
        said: Any = json.load(error)
    except ValueError:
        return None
    return said.get("error_code") if isinstance(said, dict) else None


def _request_to(uri: str) -> tuple[str, dict[str, str]]:
    """The server's address, and who is asking: by the URI, or by MLflow's own variables."""
    parts = urlsplit(uri)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return address, {"Authorization": f"Bearer {token}"}
    user = user or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = password or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if not user:
        return address, {}
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return address, {"Authorization": f"Basic {basic}"}


@contextmanager
def _reading(what: str, url: str) -> Iterator[Engine]:
    try:
        engine = create_engine(url, poolclass=NullPool)
        yield engine
    except (SQLAlchemyError, ImportError) as error:
        raise _unreachable(what, url, error) from error


def _unreachable(what: str, url: str, problem: object) -> RegistryUnreachable:
    first = str(getattr(problem, "orig", None) or problem).strip().partition("\n")[0]
    return RegistryUnreachable(
        f"{what} at {mask(url)} cannot be read: {first}",
        hint="check registry.tracking_uri and registry.ledger_url: ratchet doctor",
    )

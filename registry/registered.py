"""A registered model's aliases and tags, read from where MLflow keeps them.

MLflow takes seconds and 185 MB to import, too much for a look at one alias. So its database is
asked by SQL, its server by REST. What decides a promotion asks MLflow's own client.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from registry.errors import RegistryUnreachable
from registry.locks import sqlite_path

if TYPE_CHECKING:
    from urllib.error import HTTPError

TIMEOUT = 5.0
"""Seconds that an MLflow server gets to answer."""
_ONLY_THE_CLIENT_KNOWS = (
    *("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_INSECURE_TLS"),
    *("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_WORKSPACE"),
)
"""Variables that change how a server is asked."""
_CREDENTIALS = Path("~/.mlflow/credentials")
_WORKSPACE = "default"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What MLflow keeps of a model beside its versions."""

    aliases: Mapping[str, str]
    tags: Mapping[str, str]


Look = Callable[[str], Registered | None]
"""Model -> what MLflow keeps of it; None: it is not registered."""


def direct_look(uri: str) -> Look | None:
    """Reads the MLflow at `uri` without importing it; None where only its client can.

    A look raises RegistryUnreachable when database or server does not answer.
    """
    if uri.startswith(("http://", "https://")):
        special = any(name in os.environ for name in _ONLY_THE_CLIENT_KNOWS)
        if special or _CREDENTIALS.expanduser().exists():
            return None
        return lambda model: _from_server(uri, model)
    if uri.startswith(("sqlite", "postgresql")):
        return lambda model: _from_database(uri, model)
    return None


def shown(uri: str) -> str:
    """The URI without its user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _from_database(uri: str, model: str) -> Registered | None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise _unreadable(uri, f"there is no file {path}")
    try:
        with create_engine(uri, poolclass=NullPool).connect() as connection:
            rows = {table: _rows(connection, table, model) for table in _TABLES}
    except (SQLAlchemyError, ImportError) as error:
        raise _unreadable(uri, error) from error
    models, aliases, tags = rows.values()
    if not models:
        return None
    return Registered(
        aliases={row["alias"]: str(row["version"]) for row in aliases},
        tags={row["key"]: row["value"] for row in tags},
    )


_TABLES = ("registered_models", "registered_model_aliases", "registered_model_tags")


def _rows(connection: Any, table: str, model: str) -> list[Mapping[str, Any]]:
    """A model's rows; before MLflow 3.5 the tables had no workspaces."""
    from sqlalchemy import text

    workspace = os.environ.get("MLFLOW_WORKSPACE", _WORKSPACE)
    rows = connection.execute(text(f"SELECT * FROM {table} WHERE name = :name"), {"name": model})
    return [row for row in rows.mappings() if row.get("workspace", workspace) == workspace]


def _from_server(uri: str, model: str) -> Registered | None:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    address, headers = _request_to(uri)
    query = urlencode({"name": model})
    url = f"{address}/api/2.0/mlflow/registered-models/get?{query}"
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
            body = json.load(answer)["registered_model"]
        return Registered(
            aliases={each["alias"]: str(each["version"]) for each in body.get("aliases", ())},
            tags={each["key"]: each.get("value", "") for each in body.get("tags", ())},
        )
    except HTTPError as error:
        if _error_code(error) == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise _unreadable(uri, f"it answers {error.code} {error.reason}") from error
    except (URLError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable(uri, error) from error


def _error_code(error: "HTTPError") -> str | None:
    try:
        body: Any = json.load(error)
    except ValueError:
        return None
    return body.get("error_code") if isinstance(body, dict) else None


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


def _unreadable(uri: str, problem: object) -> RegistryUnreachable:
    first = str(getattr(problem, "orig", None) or problem).strip().partition("\n")[0]
    return RegistryUnreachable(
        f"MLflow at {shown(uri)} cannot be read: {first}",
        hint="check registry.tracking_uri: ratchet doctor",
    )

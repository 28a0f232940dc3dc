"""A registered model's aliases and tags, read from where MLflow keeps them.

MLflow takes seconds and 185 MB to import, too much for a look at one alias. So its database is
asked by SQL, its server by REST. What decides a promotion asks MLflow's own client.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from registry.errors import RegistryUnreachable
from registry.http import opened, request_to
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
DIGEST_TAG = "ratchet.digest"
"""Of a version: the digest of its files."""
_DELETED = "Deleted_Internal"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What MLflow keeps of a model, and of the version that was asked for."""

    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """The digest of the version that was asked for (none: it has no such tag); not there: gone."""


class Look(Protocol):
    """Model -> what MLflow keeps of it; None: it is not registered."""

    def __call__(self, model: str, version: str | None = None) -> Registered | None: ...


def direct_look(uri: str) -> Look | None:
    """Reads the MLflow at `uri` without importing it; None where only its client can.

    A look raises RegistryUnreachable when database or server does not answer.
    """
    if uri.startswith(("http://", "https://")):
        special = any(name in os.environ for name in _ONLY_THE_CLIENT_KNOWS)
        if special or _CREDENTIALS.expanduser().exists():
            return None
        return lambda model, version=None: _from_server(uri, model, version)
    if uri.startswith(("sqlite", "postgresql")):
        return lambda model, version=None: _from_database(uri, model, version)
    return None


def shown(uri: str) -> str:
    """The URI without its user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _from_database(uri: str, model: str, version: str | None) -> Registered | None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise _unreadable(uri, f"there is no file {path}")
    try:
        with create_engine(uri, poolclass=NullPool).connect() as connection:
            rows = {table: _rows(connection, table, model) for table in _TABLES}
            found = _rows(connection, "model_versions", model, version) if version else []
            said = _rows(connection, "model_version_tags", model, version) if version else []
    except (SQLAlchemyError, ImportError) as error:
        raise _unreadable(uri, error) from error
    models, aliases, tags = rows.values()
    if not models:
        return None
    return Registered(
        aliases={row["alias"]: str(row["version"]) for row in aliases},
        tags={row["key"]: row["value"] for row in tags},
        digests={
            str(row["version"]): {tag["key"]: tag["value"] for tag in said}.get(DIGEST_TAG)
            for row in found
            # MLflow keeps the row of a version that was deleted.
            if row["current_stage"] != _DELETED
        },
    )


_TABLES = ("registered_models", "registered_model_aliases", "registered_model_tags")


def _rows(
    connection: Any, table: str, model: str, version: str | None = None
) -> list[Mapping[str, Any]]:
    """A model's rows, or those of a version; before MLflow 3.5 the tables had no workspaces."""
    from sqlalchemy import text

    workspace = os.environ.get("MLFLOW_WORKSPACE", _WORKSPACE)
    query, values = f"SELECT * FROM {table} WHERE name = :name", {"name": model}
    if version is not None:
        query, values = (
            f"{query} AND CAST(version AS TEXT) = :version",
            values | {"version": version},
        )
    rows = connection.execute(text(query), values)
    return [row for row in rows.mappings() if row.get("workspace", workspace) == workspace]


def _from_server(uri: str, model: str, version: str | None) -> Registered | None:
    body = _asked(uri, "registered-models/get", {"name": model})
    if body is None:
        return None
    asked = {"name": model, "version": version} if version else None
    found = _asked(uri, "model-versions/get", asked) if asked else None
    try:
        kept = body["registered_model"]
        return Registered(
            aliases={each["alias"]: str(each["version"]) for each in kept.get("aliases", ())},
            tags=_tags(kept),
            digests={str(version): _tags(found["model_version"]).get(DIGEST_TAG)} if found else {},
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise _unreadable(uri, error) from error


def _tags(body: Any) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in body.get("tags", ())}


def _asked(uri: str, what: str, query: Mapping[str, str]) -> Any:
    """The server's answer; None: there is no such thing."""
    from urllib.error import HTTPError, URLError

    address, headers = request_to(uri)
    url = f"{address}/api/2.0/mlflow/{what}?{urlencode(query)}"
    try:
        with opened(url, headers, timeout=TIMEOUT) as answer:
            return json.load(answer)
    except HTTPError as error:
        if _error_code(error) == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise _unreadable(uri, f"it answers {error.code} {error.reason}") from error
    except (URLError, OSError, ValueError) as error:
        raise _unreadable(uri, error) from error


def _error_code(error: "HTTPError") -> str | None:
    try:
        body: Any = json.load(error)
    except ValueError:
        return None
    return body.get("error_code") if isinstance(body, dict) else None


def _unreadable(uri: str, problem: object) -> RegistryUnreachable:
    first = str(getattr(problem, "orig", None) or problem).strip().partition("\n")[0]
    return RegistryUnreachable(
        f"MLflow at {shown(uri)} cannot be read: {first}",
        hint="check registry.tracking_uri: ratchet doctor",
    )

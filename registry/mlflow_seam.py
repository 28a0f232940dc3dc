"""The one door to MLflow: its import, its client, and its errors in our words.

Only `MlflowClient` with explicit ids is used. The fluent API keeps the active run, and the
tracking URI, in global variables: two flows in one daemon would write into each other's runs.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from registry.config import RegistryConfig
from registry.errors import OtherMlflow, RegistryUnreachable
from registry.http import opened, request_to
from registry.locks import exclusive, sqlite_path
from registry.registered import DIGEST_TAG, Registered, direct_look, shown

# Set before MLflow is imported, where the user has not: no calls home; no log lines about its own
# tables; a server that is down is reported after seconds instead of minutes.
ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
HEALTH_SECONDS = 5.0


class MlflowSeam:
    """A client for one tracking server or database, made at its first use."""

    def __init__(self, config: RegistryConfig) -> None:
        self.config = config
        self._making = threading.Lock()

    @property
    def client(self) -> Any:
        """The MlflowClient; its database is initialised by one process at a time.

        Raises RegistryUnreachable when the server or the database does not answer.
        """
        with self._making:
            return self._client

    @cached_property
    def _client(self) -> Any:
        uri = self.config.tracking_uri
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        _check_server(uri)
        with translated(f"MLflow at {shown(uri)}"):
            from mlflow import MlflowClient

            logging.getLogger("alembic").setLevel(logging.WARNING)  # MLflow's and our migrations
            # Processes that meet a new database at once break each other's migration.
            with exclusive(uri, "mlflow-init"):
                client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                client.search_experiments(max_results=1)
                client.search_registered_models(max_results=1)
        return client

    def registered(self, model: str, version: str | None = None) -> Registered | None:
        """The registered model's aliases and tags; None when there is no such model.

        `version`: whose digest is wanted.
        """
        from mlflow.exceptions import MlflowException

        client = self.client
        try:
            with translated("MLflow"):
                entity = client.get_registered_model(model)
                return Registered(
                    aliases={alias: str(number) for alias, number in entity.aliases.items()},
                    tags=entity.tags,
                    digests={} if version is None else self._digest(model, version),
                )
        except MlflowException as error:
            if missing(error):
                return None
            raise

    def look(self, model: str, version: str | None = None) -> Registered | None:
        """The same for people to read, without MLflow's import where that can be had."""
        return (direct_look(self.config.tracking_uri) or self.registered)(model, version)

    def _digest(self, model: str, version: str) -> dict[str, str | None]:
        """The digest of a version that is there."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_model_version(model, version)
        except MlflowException as error:
            if missing(error):
                return {}
            raise
        return {version: found.tags.get(DIGEST_TAG)}

    def artifact_location(self, experiment: str) -> str | None:
        """Where a new experiment keeps its files; None: where the server says.

        Without this, MLflow on SQLite would write to `./mlruns` of whatever folder it runs in.
        """
        root = self.config.artifact_uri
        if root is None:
            path = sqlite_path(self.config.tracking_uri)
            root = None if path is None else (path.parent / "artifacts").as_uri()
        elif "://" not in root:
            root = Path(root).absolute().as_uri()
        return None if root is None else f"{root.rstrip('/')}/{experiment}"


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Say in one sentence that `what` cannot be reached when MLflow or the network fails."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except (requests.exceptions.RequestException, OperationalError, OSError) as error:
        raise _unreachable(what, error) from error
    except MlflowException as error:
        if error.error_code not in {
            "INTERNAL_ERROR",
            "TEMPORARILY_UNAVAILABLE",
            "REQUEST_LIMIT_EXCEEDED",
        }:
            raise
        found = re.search(r"found version (\w+), but expected", str(error))
        raise (_of_other_version(what, found[1]) if found else _unreachable(what, error)) from error


def _of_other_version(what: str, schema: str) -> OtherMlflow:
    """Which of the two is older, by the migrations that the installed MLflow brings."""
    import mlflow

    known = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    older = any(known.glob(f"{schema}_*.py"))
    wrote = "an older MLflow" if older else "a newer MLflow"
    return OtherMlflow(
        f"The database of {what} was written by {wrote} than {mlflow.__version__}, which is "
        f"installed here (its schema is {schema}). Nothing was changed.",
        hint="back the database up, then: mlflow db upgrade URI (registry.tracking_uri)"
        if older
        else "install the MLflow that wrote it wherever Ratchet runs: pip install -U mlflow",
    )


def missing(error: Exception) -> bool:
    """Whether an MlflowException says that the thing asked for does not exist."""
    return getattr(error, "error_code", "") in {
        "RESOURCE_DOES_NOT_EXIST",
        "INVALID_PARAMETER_VALUE",
    }


def _unreachable(what: str, error: Exception) -> RegistryUnreachable:
    return RegistryUnreachable(
        f"{what} does not answer: {str(error).strip().splitlines()[0]}",
        hint="check registry.tracking_uri, and that the server runs and its folder can be written",
    )


def _check_server(uri: str) -> None:
    if not uri.startswith(("http://", "https://")):
        return
    import urllib.error

    address, headers = request_to(uri)
    try:
        with opened(f"{address}/health", headers, timeout=HEALTH_SECONDS):
            return
    except urllib.error.HTTPError:
        return  # It answers; whether it lets us in is seen at the first real call.
    except (urllib.error.URLError, OSError) as error:
        raise _unreachable(f"MLflow at {shown(uri)}", error) from error

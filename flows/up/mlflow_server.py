"""The MLflow server of `ratchet up`, over the registry's own database."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

from flows.up.child import Launch, clean_environment
from flows.up.ports import free_port
from registry import RegistryConfig
from registry.http import opened
from registry.mlflow_seam import MlflowSeam

PORT = 5000
_TIMEOUT_S = 3.0

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes and a gigabyte less
}
_MAIN = "from flows.up.mlflow_server import main; main()"


@dataclass(frozen=True, kw_only=True)
class MlflowServer:
    """MLflow's pages, for people; Ratchet itself reads and writes the database."""

    home: Path
    config: RegistryConfig  # with its secrets
    name: str = "mlflow"

    def launch(self, before: Mapping[str, str]) -> Launch:
        """At the port of before where that is free."""
        port = free_port(urlsplit(before.get("address", "")).port or PORT)
        environment = {
            **clean_environment(("MLFLOW_TRACKING_URI",)),
            **_SETTINGS,
            # Not on the command line: the URI may hold a password.
            "MLFLOW_BACKEND_STORE_URI": self.config.tracking_uri,
            "MLFLOW_ARTIFACTS_DESTINATION": str(self.home / "mlartifacts"),
        }
        return Launch(
            command=[sys.executable, "-c", _MAIN, str(port)],
            environment=environment,
            address=f"http://127.0.0.1:{port}",
        )

    def answers(self, address: str) -> bool:
        """Whether its health page answers."""
        try:
            with opened(f"{address}/health", timeout=_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError, ValueError):
            return False


def main() -> None:
    """In the child: make the database under its lock, then become the server.

    Processes that meet a new database at once break each other's migration.
    """
    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    _ = MlflowSeam(RegistryConfig(tracking_uri=uri, ledger_url="sqlite://")).client
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    os.execv(sys.executable, [*command, "--port", sys.argv[1], "--workers", "1"])

"""The local Ray head of `ratchet up`: its command, its token, and whether it takes jobs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows.up.child import KEEPER, Launch, clean_environment, recorded
from flows.up.ports import free_port
from flows.up.private_file import read_json, token
from ray_jobs import Dashboard, RayConfig, session_folder

DASHBOARD_PORT = 8265
_OTHER_PORTS = 24_000  # above those of Ray's workers, 10002 to 19999


@dataclass(frozen=True, kw_only=True)
class RayHead:
    """A head of one node for one home. Its jobs outlive it, and whoever started it."""

    home: Path
    config: RayConfig  # num_cpus, num_gpus, object_store_mb, stop_grace_s
    name: str = "ray"

    @property
    def token_path(self) -> Path:
        """Its token: Ray binds every interface, and without one anybody there runs code."""
        return token_path(self.home)

    def launch(self, before: Mapping[str, str]) -> Launch:
        """`ray start --head`, at the dashboard port of before where that is free."""
        token(self.token_path)
        wanted = urlsplit(before.get("address", "")).port or DASHBOARD_PORT
        dashboard = free_port(wanted)
        ports: dict[str, int] = {"dashboard-port": dashboard}
        # A range of one's own for each head, so that two on one machine seldom meet.
        first = _OTHER_PORTS + dashboard % 1000 * 10
        for name in ("port", "dashboard-agent-listen-port", "ray-client-server-port"):
            ports[name] = free_port(first, frozenset(ports.values()))
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--{name}={port}" for name, port in ports.items()]
        command += ["--dashboard-host=127.0.0.1", "--disable-usage-stats"]
        name = hashlib.sha256(str(self.home).encode()).hexdigest()[:8]
        command += [f"--temp-dir={session_folder(name)}", *self._sizes()]
        environment = {
            # An address of another Ray, or another token, would be taken before these.
            **clean_environment(("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_")),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
        }
        # A task with side effects never runs twice by itself, also not for lack of memory.
        environment.setdefault("RAY_task_oom_retries", "0")
        return Launch(
            command=command, environment=environment, address=f"http://127.0.0.1:{dashboard}"
        )

    def answers(self, address: str) -> bool:
        """Whether a node of it takes jobs; its dashboard is there seconds earlier."""
        return Dashboard(address, token(self.token_path)).has_nodes()

    def _sizes(self) -> list[str]:
        found = []
        if self.config.num_cpus is not None:
            found.append(f"--num-cpus={self.config.num_cpus}")
        if self.config.num_gpus is not None:
            found.append(f"--num-gpus={self.config.num_gpus}")
        if self.config.object_store_mb is not None:
            found.append(f"--object-store-memory={self.config.object_store_mb * 2**20}")
        return found


def token_path(home: Path) -> Path:
    """Where a home's Ray head has its token."""
    return home / "up" / "ray-token"


def kept_head(home: Path) -> str | None:
    """The address of the head of a `ratchet up` of this home, if one of the two lives.

    A dead head is started again at its address, and what was sent to it is not sent elsewhere.
    """
    record = read_json(home / "up" / "ray.json") or {}
    if "address" not in record:
        return None
    lives = any((found := recorded(record, who)) and found.alive for who in ("", KEEPER))
    return str(record["address"]) if lives else None

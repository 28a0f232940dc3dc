"""What a head's dashboard tells without Ray's own client, which takes 40 MB to import."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError

from ray_jobs.errors import RayJobError, RayUnreachable
from registry.http import opened

_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class ClusterLoad:
    """What a cluster has, and what of it was in use when it was last counted."""

    cpus: float  # of all live nodes
    gpus: float
    used_cpus: float  # held by tasks and actors of whomever
    used_gpus: float
    counted_at: float  # Ray's own clock, seconds; it counts every few seconds


class Dashboard:
    """The HTTP API of one head."""

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def has_nodes(self) -> bool:
        """Whether it answers and has a node that could run a job; raises nothing."""
        try:
            return self.load().cpus > 0
        except RayJobError:
            return False

    def load(self) -> ClusterLoad:
        """What is there and in use. Raises RayUnreachable, RayJobError for a wrong token."""
        try:
            nodes = self._get("/api/v0/nodes")["data"]["result"]["result"]
            status = self._get("/api/cluster_status")["data"]["clusterStatus"] or {}
            usage = (status.get("loadMetricsReport") or {}).get("usage") or {}
            alive = [node["resources_total"] for node in nodes if node["state"] == "ALIVE"]
            return ClusterLoad(
                cpus=sum(float(node.get("CPU", 0)) for node in alive),
                gpus=sum(float(node.get("GPU", 0)) for node in alive),
                used_cpus=float(usage.get("CPU", (0, 0))[0]),
                used_gpus=float(usage.get("GPU", (0, 0))[0]),
                counted_at=float(status.get("time") or 0.0),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise RayUnreachable(
                f"What answers at {self._address} is no Ray dashboard.",
                hint="Correct ray.address: the URL of the head's dashboard, http://HEAD:8265.",
            ) from error

    def _get(self, path: str) -> Any:
        try:
            with opened(f"{self._address}{path}", self._headers, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read())
        except HTTPError as error:
            error.close()
            if error.code in (401, 403):
                raise RayJobError(
                    f"Ray at {self._address} asks for a token that it was not given.",
                    hint="Set ray.token_path to a copy of the cluster's token file.",
                    permanent=True,
                ) from error
            raise ValueError(error.code) from error
        except (URLError, OSError) as error:
            raise RayUnreachable(
                f"No Ray answers at {self._address}.",
                hint="Start it, or correct ray.address; ray=embedded runs without a cluster.",
            ) from error

"""What a head's dashboard tells without Ray's own client, which takes 40 MB to import."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError

from ray_jobs.errors import RayJobError, RayUnreachable
from registry.http import opened

_TIMEOUT_S = 5.0
LIVE_NODES = "/api/v0/nodes?limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
"""Unasked, Ray tells of 100 nodes, chosen by their random ids, the dead ones among them."""
_USE = re.compile(r"^([\d.]+)/[\d.]+ (CPU|GPU)\b", re.MULTILINE)


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
            return self._total()[0] > 0
        except RayJobError:
            return False

    def load(self) -> ClusterLoad:
        """What is there and in use. Raises RayUnreachable, RayJobError for a wrong token."""
        cpus, gpus = self._total()
        status = self._data("/api/cluster_status")
        with self._understood():
            found = status["clusterStatus"] or {}
            report = found.get("loadMetricsReport")
            if report is None:
                # The second autoscaler reports nothing there: what is in use is said by node.
                use = _use_by_node(self._data("/nodes?view=summary")["nodeLogicalResources"])
                at = time.time()
            else:
                use = {name: float(used[0]) for name, used in (report.get("usage") or {}).items()}
                at = float(found.get("time") or 0.0)
            return ClusterLoad(
                cpus=cpus,
                gpus=gpus,
                used_cpus=use.get("CPU", 0.0),
                used_gpus=use.get("GPU", 0.0),
                counted_at=at,
            )

    def _total(self) -> tuple[float, float]:
        """CPUs and GPUs of all live nodes."""
        with self._understood():
            nodes = self._data(LIVE_NODES)["result"]["result"]
            alive = [node["resources_total"] for node in nodes if node["state"] == "ALIVE"]
            return (
                sum(float(node.get("CPU", 0)) for node in alive),
                sum(float(node.get("GPU", 0)) for node in alive),
            )

    def _data(self, path: str) -> Any:
        with self._understood():
            return self._get(path)["data"]

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
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


def _use_by_node(nodes: Mapping[str, str]) -> dict[str, float]:
    """Of lines such as `2.5/3.0 CPU`, some for each node."""
    use: dict[str, float] = {}
    for text in nodes.values():
        for used, name in _USE.findall(text):
            use[name] = use.get(name, 0.0) + float(used)
    return use

"""From the config to a client."""

from __future__ import annotations

from pathlib import Path

from ray_jobs.client import RayClient, RayConfig
from ray_jobs.cluster import ClusterRay
from ray_jobs.embedded import EmbeddedRay


def connect(config: RayConfig, artifacts_uri: str, home: str | Path) -> RayClient:
    """The client that the config asks for; it starts and reaches nothing before it is used.

    `artifacts_uri` holds the jobs' markers, and must mean the same place to the jobs; `home`
    is the project's private folder, where an embedded Ray keeps its token.
    """
    if config.mode == "cluster":
        return ClusterRay(config, artifacts_uri)
    return EmbeddedRay(config, artifacts_uri, home)

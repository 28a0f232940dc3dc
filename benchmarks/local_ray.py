"""A warm Ray on this machine, started outside of every timing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray_jobs import EmbeddedRay, RayConfig


@contextmanager
def local_ray(folder: Path) -> Iterator[None]:
    """Ray on all cores, as `ray=embedded` starts it."""
    ray = EmbeddedRay(RayConfig(num_cpus=os.cpu_count()), str(folder / "artifacts"), folder)
    try:
        ray.resources()  # starts it
        yield
    finally:
        ray.close()

"""What a cluster has, and the refusal of what it can never run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_jobs.errors import NotEnoughResources

ELASTIC = "RATCHET_RAY_ELASTIC"
"""Set to "1" in the jobs of a cluster that adds nodes on demand: nothing is refused there."""


def elastic() -> bool:
    """Whether this job runs on a cluster that adds nodes on demand."""
    return os.environ.get(ELASTIC) == "1"


@dataclass(frozen=True, kw_only=True)
class NodeResources:
    """What one machine of the cluster has in all."""

    name: str  # host or address
    cpus: float
    gpus: float
    memory: float  # bytes that Ray may hand out

    @classmethod
    def from_ray(cls, name: str, resources: Mapping[str, Any]) -> NodeResources:
        """From Ray's own mapping of resource names to amounts."""
        return cls(
            name=name,
            cpus=float(resources.get("CPU", 0)),
            gpus=float(resources.get("GPU", 0)),
            memory=float(resources.get("memory", 0)),
        )


@dataclass(frozen=True, kw_only=True)
class ClusterResources:
    """What the whole cluster has."""

    nodes: tuple[NodeResources, ...]

    @property
    def cpus(self) -> float:
        """CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)


def connected_nodes() -> tuple[NodeResources, ...]:
    """The live nodes of the Ray that this process is connected to."""
    import ray

    return tuple(
        NodeResources.from_ray(node["NodeManagerHostname"], node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    )


def ensure_feasible(
    *,
    num_cpus: float = 0,
    num_gpus: float = 0,
    memory: float = 0,
    what: str = "The job",
    nodes: Sequence[NodeResources] | None = None,
) -> None:
    """Raises `NotEnoughResources` when no single node can ever hold the request.

    Ray lets such a task pend for ever without a word. `memory` is in bytes; `nodes` are those
    of the connected Ray unless given. A request that only has to wait is not refused.
    """
    if not (num_cpus or num_gpus or memory) or elastic():
        return
    known = connected_nodes() if nodes is None else tuple(nodes)
    if any(n.cpus >= num_cpus and n.gpus >= num_gpus and n.memory >= memory for n in known):
        return
    wanted = NodeResources(name="", cpus=num_cpus, gpus=num_gpus, memory=memory)
    if len(known) == 1:
        has = f"the cluster has {_amounts(known[0], wanted)}"
    else:
        each = "; ".join(f"{node.name}: {_amounts(node, wanted)}" for node in known[:5])
        has = f"none of the cluster's {len(known)} nodes has that ({each})"
    raise NotEnoughResources(
        f"{what} asks for {_amounts(wanted, wanted)}; {has}.",
        hint="Ask for less, or add a node that has it.",
    )


def _amounts(node: NodeResources, wanted: NodeResources) -> str:
    """What a node has of the wanted kinds: `1 CPU and 4 GPUs`."""
    parts = [
        f"{amount:g} {unit}{'' if amount == 1 else 's'}"
        for amount, asked, unit in (
            (node.cpus, wanted.cpus, "CPU"),
            (node.gpus, wanted.gpus, "GPU"),
        )
        if asked
    ]
    if wanted.memory:
        parts.append(f"{node.memory / 2**30:.3g} GiB of memory")
    return " and ".join(parts)

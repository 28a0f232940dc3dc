"""The worker of `ratchet up` and `ratchet worker`: the host of an engine that serves everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flows.bootstrap import Ratchet
from flows.core.host import Host
from flows.settings import revealed
from flows.up.ray_head import kept_head, token_path
from flows.up.shared_registry import refuse_own_ledger
from ray_jobs import RayConfig


def worker_of(
    ratchet: Ratchet,
    *,
    pools: frozenset[str] | None = None,
    ray: Callable[[], RayConfig] | None = None,
) -> Host:
    """`pools`: whose tasks it takes, None: all. `ray`: which Ray its Ray tasks go to.

    Raises ConfigError where several machines would have a ledger each.
    """
    alive = [lease.holder for lease in ratchet.service.workers()]
    refuse_own_ledger(ratchet.settings, alive)
    chosen = ray or (lambda: nearest_ray(ratchet))
    return Host(lambda identity: ratchet.engine(serves=pools, ray=chosen, identity=identity))


def reconnect(worker: Host) -> None:
    """Its Ray head was started again, perhaps at another address."""
    if (engine := worker.engine) is not None:
        engine.executors["ray"].reconnect()  # type: ignore[attr-defined]


def nearest_ray(ratchet: Ratchet) -> RayConfig:
    """The head of a `ratchet up` on this home, unless the settings name a cluster."""
    config = revealed(ratchet.settings.ray)
    address = kept_head(ratchet.home) if config.mode == "embedded" else None
    return config if address is None else on_head(config, address, ratchet)


def on_head(config: RayConfig, address: str, ratchet: Ratchet) -> RayConfig:
    """The settings of Ray as a client of this home's own head uses them."""
    return replace(
        config, mode="cluster", address=address, token_path=str(token_path(ratchet.home))
    )

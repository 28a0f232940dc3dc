"""The worker of `ratchet up` and `ratchet worker`: an engine that finds its work by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from flows.bootstrap import Ratchet
from flows.core.engine import Engine
from flows.settings import revealed
from flows.up.ray_head import kept_head, token_path
from ray_jobs import RayConfig


class Worker:
    """Serves runs until it is told to stop; then it claims no more and drains."""

    def __init__(
        self,
        ratchet: Ratchet,
        *,
        pools: frozenset[str] | None = None,
        ray: Callable[[], RayConfig] | None = None,
        drain: float = 60.0,
        leaves: bool = True,
    ) -> None:
        """`pools`: whose tasks it takes, None: all. `ray`: which Ray its Ray tasks go to.

        Told to stop, it gives what runs `drain` seconds; Ray's jobs too unless it `leaves` them.
        """
        self._ratchet = ratchet
        self._pools = pools
        self._ray = ray or (lambda: nearest_ray(ratchet))
        self._drain = drain
        self._leaves = leaves
        self._engine: Engine | None = None
        self._opened = threading.Event()

    def serve(self, stop: threading.Event) -> None:
        """Drive what there is until `stop` is set; returns once it has drained."""
        with self._ratchet.engine(serves=self._pools, ray=self._ray) as engine:
            self._engine = engine
            self._opened.set()
            try:
                engine.serve(stop, drain=self._drain, leaves=self._leaves)
            finally:
                self._engine = None

    def has_looked(self, within: float) -> bool:
        """Whether it has looked for work, `within` seconds at the latest."""
        self._opened.wait(within)
        return (engine := self._engine) is not None and engine.looked.wait(within)

    def wake(self) -> None:
        """There is something to do, or to stop; callable from any thread."""
        if (engine := self._engine) is not None:
            engine.wake()

    def hurry(self) -> None:
        """End the drain now."""
        if (engine := self._engine) is not None:
            engine.hurry()

    def running(self) -> list[str]:
        """The attempts that it has given to its executors."""
        return list(engine.running.live) if (engine := self._engine) is not None else []

    def reconnect(self) -> None:
        """Its Ray head was started again, perhaps at another address."""
        if (engine := self._engine) is not None:
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

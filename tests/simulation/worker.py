"""A worker of the world: a real engine, whose executors, lease and machine are the world's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.core import identity
from flows.core.engine import Engine
from flows.core.identity import Identity, this_machine
from flows.core.lease_keeper import LEASE
from flows.core.pool import Pool
from tests.simulation.executions import Cluster, ClusterExecutor, Execution, LocalExecutor
from tests.simulation.process import Process

FIRST_PID = 90_000_000
"""Process ids of simulated workers: beyond those of the kernel."""


class Worker(Process):
    """Boots an engine that serves, and lets it do one round after the other."""

    def __init__(
        self,
        *args: Any,
        cluster: Cluster,
        record: list[Execution],
        pools: Mapping[str, Pool],
        serves: frozenset[str] | None,
    ) -> None:
        super().__init__(*args)
        self._serves = serves
        self._cluster, self._record, self._pools = cluster, record, pools
        self.engine: Engine | None = None

    @property
    def worker(self) -> str:
        """The name under which it claims at the moment."""
        return self.engine.worker if self.engine else self.name

    def boot(self) -> None:
        assert self.store is not None
        executors = {
            "local": LocalExecutor(self, self._record),
            "cluster": ClusterExecutor(self, self._cluster),
        }
        # Either all are on this machine, and a death can be proven, or each is on its own: on
        # another host, or in a container, with the same host name and process ids as the others.
        number, where = self.world.number_of(self, self.life), self.world.where
        machine = this_machine() if where == "one machine" else self.name
        pid = FIRST_PID + (0 if where == "containers" else number)
        self.engine = Engine(
            self.store,
            executors,
            clock=self.clock,
            default_executor="local",
            pools=self._pools,
            serves=self._serves,
            discovers=True,
            identity=Identity(
                host="node" if where == "containers" else self.name,
                machine=machine,
                pid=pid,
                started=self.life,
                nonce=f"{self.life:06x}",
            ),
        )
        self.engine.open()
        self.world.workers.add(self.name)
        self.world.reach("worker of some pools only", self._serves is not None)
        self.world.at(LEASE.total_seconds() / 4, self._keep_lease, self)

    def leave(self) -> None:
        """End in good order, as on Ctrl-C; another life begins in a while."""
        assert self.engine is not None
        goes_on = any(live.executor.survives for live in self.engine.running.live.values())
        self.world.reach("job left behind in good order", goes_on)
        self.engine.close()
        self.die("in good order")

    def _keep_lease(self) -> None:
        """What the thread of the lease's keeper does in one round."""
        assert self.engine is not None
        keeper = self.engine._lease
        stop, keeper._stop = keeper._stop, OneRound()  # type: ignore[assignment]
        try:
            keeper._keep()
        finally:
            keeper._stop = stop
        self.world.at(LEASE.total_seconds() / 4, self._keep_lease, self)

    def die(self, why: str) -> None:
        super().die(why)
        self.world.workers.discard(self.name)
        self.world.reach("every worker dead at once", not self.world.workers)

    def turn(self) -> float:
        assert self.engine is not None
        if self.world.happens(self.faults.crash):
            self.leave()
            return 0.0
        engine, life = self.engine, self.life
        try:
            if not engine._survived():
                self.world.note(self.name, "waits for the store")
        finally:  # it may have begun anew, under another name
            self.world.serves[engine.worker] = self._serves
            self.world.named[engine.worker] = self, life
        return self.world.chance.choice(
            (0.5, 4.0, 10.0) if self.engine.running.live else (5.0, 12.0)
        )


class OneRound:
    """An event on which one wait passes, and the next does not."""

    def __init__(self) -> None:
        self._waited = False

    def wait(self, timeout: float) -> bool:
        self._waited, before = True, self._waited
        return before


class NoThread:
    """A thread that does nothing: the world does its work."""

    def __init__(self, **_: Any) -> None: ...

    def start(self) -> None: ...

    def join(self) -> None: ...


def is_gone(world: Any) -> Any:
    """What the kernel would say of a process, the simulated ones included."""
    real = identity.is_gone

    def gone(pid: int, started: int) -> bool:
        if pid < FIRST_PID:
            return bool(real(pid, started))
        process, life = world.process_of(pid - FIRST_PID)
        return not (process.alive and process.life == life == started)

    return gone

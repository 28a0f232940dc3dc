"""What `ratchet up` starts, watches and stops: servers as children, loops as threads."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from flows.bootstrap import Ratchet
from flows.console.server import ApiServer, Health, load_app
from flows.core.errors import ConfigError, RatchetError
from flows.settings import revealed
from flows.up.child import Child
from flows.up.loop import Loop
from flows.up.mlflow_server import MlflowServer
from flows.up.ports import listening
from flows.up.private_file import HomeLock, token
from flows.up.ray_head import RayHead
from flows.up.scheduling import scheduling_loops
from flows.up.supervisor import Supervisor
from flows.up.worker import on_head, reconnect, worker_of
from ray_jobs import RayConfig

API_TOKEN = "api-token"
"""File below `<home>/up` with the token that callers of the API show."""

API_PORT = 8484
"""Of the API, unless it is taken or another one is wanted."""

AT_ONCE = 1.0
"""Seconds that a server is given when everything has to stop now."""

FIRST = 1.0
"""Seconds that the worker is given to look for work before the other loops are started."""

STOPPING = 10.0
"""Seconds that a server is given to end by itself."""

TICK = 0.5
"""Seconds between two looks of the main loop."""

REPEAT = 30.0
"""Seconds after which it is said again what is waited for."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asked for."""

    ray: bool = True  # a local Ray head
    mlflow: bool = True  # an MLflow server
    port: int = API_PORT  # of the API, or the next free one
    grace: timedelta = timedelta(seconds=60)  # for running work, once asked to stop


class Up:
    """One always-on Ratchet over one home."""

    def __init__(self, ratchet: Ratchet, wanted: Wanted, say: Callable[[str], None]) -> None:
        self._ratchet = ratchet
        self._wanted = wanted
        self._say = say
        self._lock = HomeLock(ratchet.home)
        self._head = self._ray_child()
        mlflow = self._mlflow_child()
        self._children = [child for child in (self._head, mlflow) if child is not None]
        self._supervisor = Supervisor(self._children, say, back=self._is_back)
        self._worker = worker_of(ratchet, ray=None if self._head is None else self._ray_config)
        works = partial(
            self._worker.serve,
            drain=wanted.grace.total_seconds(),
            leaves=self._head is None,  # our head ends with us, and its jobs with it
        )
        self._worker_loop = Loop(
            "worker", works, say=say, clock=ratchet.clock, wake=self._worker.wake
        )
        self._loops = [self._worker_loop, *scheduling_loops(ratchet, self._worker.wake, say)]
        self._api: ApiServer | None = None

    def start(self) -> None:
        """Start everything; returns before the servers answer. Raises Refused, ConfigError."""
        self._lock.take(f"process {os.getpid()}, since {self._ratchet.clock.now():%Y-%m-%d %H:%M}")
        self._api = self._api_server()  # before anything else: a port may be missing
        self._supervisor.start(self._ratchet.clock.now())
        self._worker_loop.start()
        self._worker.has_looked(FIRST)  # what a crash interrupted goes on before all else
        for loop in self._loops:
            if loop is not self._worker_loop:
                loop.start()
        self._api.start()
        self._say_addresses()

    def serve(self, asked: threading.Event) -> None:
        """Look after everything until `asked` is set."""
        while not asked.wait(TICK):
            self._supervisor.tick(self._ratchet.clock.now())

    def drain(self, again: threading.Event) -> bool:
        """Start nothing more, and let running work end, until the grace is over or `again` is set.

        Whether everything has ended.
        """
        for loop in self._loops:
            if loop.name != "courier":
                loop.stop()
        limit, said = time.monotonic() + self._wanted.grace.total_seconds(), -REPEAT
        while not self._worker_loop.ended(TICK):
            now = time.monotonic()
            if again.is_set() or now > limit + STOPPING:
                return False
            if now - said >= REPEAT:
                said = now
                self._say_running(limit - now)
            self._supervisor.tick(self._ratchet.clock.now())
        return True

    def stop(self, grace: float = STOPPING) -> None:
        """End all that was started here, and nothing else; servers by force after `grace`."""
        if self._api is not None:
            self._api.stop()
        for loop in self._loops:
            loop.stop()
        self._worker.hurry()
        for loop in self._loops:
            if not loop.ended(STOPPING):
                self._say(f"the {loop.name} does not end; what it did not record is done again")
        stopping = [threading.Thread(target=c.stop, args=(grace,)) for c in self._children]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self._lock.release()

    def health(self) -> Health:
        """How everything stands."""
        states = {loop.name: loop.state for loop in self._loops}
        states |= {name: state.value for name, state in self._supervisor.states().items()}
        states["store"] = self._store_state()
        states["home"] = home_state(self._ratchet.home)
        return Health(ok=all(state == "up" for state in states.values()), parts=states)

    # ------------------------------------------------------------------ inside

    def _ray_child(self) -> Child | None:
        config = revealed(self._ratchet.settings.ray)
        if not self._wanted.ray or config.mode != "embedded":
            return None
        return Child(RayHead(home=self._ratchet.home, config=config), self._ratchet.home)

    def _mlflow_child(self) -> Child | None:
        config = revealed(self._ratchet.settings.registry)
        if not self._wanted.mlflow or config.tracking_uri.startswith("http"):
            return None
        return Child(MlflowServer(home=self._ratchet.home, config=config), self._ratchet.home)

    def _ray_config(self) -> RayConfig:
        assert self._head is not None
        address = self._head.address
        return on_head(revealed(self._ratchet.settings.ray), address or "", self._ratchet)

    def _is_back(self, child: Child) -> None:
        if child is self._head:
            reconnect(self._worker)

    def _api_server(self) -> ApiServer:
        api = self._ratchet.settings.api
        secret = None if api.webhook_secret is None else revealed(api).webhook_secret
        if secret == "":
            raise ConfigError(
                "The secret of api.webhook_secret is empty: anybody could sign with it.",
                hint="set it, or leave api.webhook_secret out",
            )
        shown = token(self._ratchet.home / "up" / API_TOKEN)
        app = partial(
            load_app,
            self._ratchet,
            token=shown,
            secret=secret,
            health=self.health,
            ordered=self._worker.wake,
        )
        server = ApiServer(app, listening(self._wanted.port))
        if not server.address.endswith(f":{self._wanted.port}"):
            self._say(f"port {self._wanted.port} is taken; the API is at {server.address}")
        return server

    def _store_state(self) -> str:
        try:
            self._ratchet.service.workers()
        except RatchetError as error:
            return " ".join(str(error).split())
        return "up"

    def _say_addresses(self) -> None:
        assert self._api is not None
        settings = self._ratchet.settings
        for child in self._children:
            adopted = ", found running" if child.adopted else ", starting"
            self._say(f"{child.name:<10}{child.address}{adopted}")
        if settings.ray.mode == "cluster":
            self._say(f"{'ray':<10}{settings.ray.address}, the cluster of the settings")
        self._say(f"{'API':<10}{self._api.address}, with the token in {self._token_file}")
        self._say("fire a schedule: ratchet schedules fire NAME; or over the API:")
        self._say(
            f'  curl -X POST -H "Authorization: Bearer $(cat {self._token_file})" '
            f"{self._api.address}/api/schedules/NAME/fire"
        )

    @property
    def _token_file(self) -> str:
        return str(self._ratchet.home / "up" / API_TOKEN)

    def _say_running(self, seconds: float) -> None:
        if running := self._worker.running():
            more = f" and {len(running) - 5} more" if len(running) > 5 else ""
            waits = f"waiting up to {seconds:.0f} s for {', '.join(running[:5])}{more}"
            self._say(f"{waits}; Ctrl-C again stops now")


def home_state(home: Path) -> str:
    """`up`, or why nothing can be written there: what reads only does not notice a full disk."""
    try:
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(bytes(4096))
    except OSError as error:
        return f"{home} cannot be written: {error.strerror}"
    return "up"

"""Serves the API from a thread of this process, on a socket that listens already."""

from __future__ import annotations

import importlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_STOPPING = 5.0  # seconds that requests under way are given


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether everything works, and how each part stands."""

    ok: bool
    parts: Mapping[str, str] = field(default_factory=dict)  # name -> up, starting, dead, ...


class ApiServer:
    """One uvicorn in one thread, which loads the application too."""

    def __init__(self, make: Callable[[], Any], listener: socket.socket) -> None:
        """`make` returns the application; callers wait on the socket until it is there."""
        self._make = make
        self._listener = listener
        self._server: Any = None
        self._thread = threading.Thread(target=self._serve, name="ratchet-api", daemon=True)
        self._stopping = False

    @property
    def address(self) -> str:
        """Where it is reached."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, and return when those under way are answered."""
        self._stopping = True
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOPPING + 1)
        self._listener.close()

    def _serve(self) -> None:
        import uvicorn

        limits = importlib.import_module("flows.console.limits")
        config = uvicorn.Config(
            self._make(),
            http=limits.ImpatientProtocol,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(_STOPPING),
        )
        self._server = uvicorn.Server(config)
        if not self._stopping:
            self._server.run(sockets=[self._listener])


def load_app(*arguments: Any, **named: Any) -> Any:
    """The application over one Ratchet, see `flows.console.app.make_app`.

    Imported here and now: FastAPI takes a third of a second, for which no run is to wait when
    `ratchet up` starts again after a crash.
    """
    return importlib.import_module("flows.console.app").make_app(*arguments, **named)

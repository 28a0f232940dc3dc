"""Serves the API from a thread of this process, on a socket that listens already."""

from __future__ import annotations

import socket
import threading
from typing import Any

_STOPPING = 5.0  # seconds that requests under way are given


class ApiServer:
    """One uvicorn in one thread."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where it is reached."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to serve; returns at once."""
        import uvicorn

        config = uvicorn.Config(
            self._app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(_STOPPING),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._listener]},
            name="ratchet-api",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, and return when those under way are answered."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_STOPPING + 1)
        self._listener.close()

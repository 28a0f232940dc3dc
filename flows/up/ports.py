"""Loopback ports: the one that was wanted, or the next free one."""

from __future__ import annotations

import socket
from contextlib import closing

from flows.core.errors import ConfigError

_TRIES = 50


def listening(wanted: int) -> socket.socket:
    """A socket that listens on 127.0.0.1, at `wanted` or the next free port."""
    for port in _candidates(wanted):
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
            server.listen(128)
        except OSError:
            server.close()
            continue
        return server
    raise _none_free(wanted)


def free_port(wanted: int, taken: frozenset[int] = frozenset()) -> int:
    """A port that nobody listens on: `wanted` or the next free one that is not in `taken`."""
    for port in _candidates(wanted):
        if port not in taken and _is_free(port):
            return port
    raise _none_free(wanted)


def _candidates(wanted: int) -> range:
    return range(wanted, min(wanted + _TRIES, 65536))


def _is_free(port: int) -> bool:
    # Ray binds every interface: a port that is taken on any of them is not free.
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _none_free(wanted: int) -> ConfigError:
    return ConfigError(
        f"no port from {wanted} to {wanted + _TRIES - 1} is free on this machine",
        hint="ratchet up --port PORT",
    )

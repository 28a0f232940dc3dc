"""Loopback ports: the one that was wanted, or the next free one."""

from __future__ import annotations

import socket
import sys
from contextlib import closing

from flows.core.errors import ConfigError

_TRIES = 50

_chosen: dict[int, socket.socket] = {}
"""The ports that this process has chosen; each is held by a name while the process lives."""


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
    """A port that nobody listens on: `wanted` or the next free one that is not in `taken`.

    A server listens only seconds after its port was chosen. Until this process ends, no other
    that asks here is given the same one.
    """
    for port in _candidates(wanted):
        if port not in taken and _is_free(port) and _choose(port):
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


def _choose(port: int) -> bool:
    if port in _chosen or sys.platform != "linux":
        return True
    # A name that is no file, in the same network namespace as the port; the kernel takes it back.
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0ratchet-port-{port}")
    except OSError:
        name.close()
        return False
    _chosen[port] = name
    return True


def _none_free(wanted: int) -> ConfigError:
    return ConfigError(
        f"no port from {wanted} to {wanted + _TRIES - 1} is free on this machine",
        hint="ratchet up --port PORT",
    )

"""How servers are asked over HTTP: who is asking, and never this machine through a proxy."""

import base64
import os
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_THIS_MACHINE = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]")


def spare_loopback(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let nothing that runs on this machine be asked through a proxy, where one is set.

    By `no_proxy`, which every library and every child process obeys: urllib, requests (MLflow's
    and Ray's clients) and curl alike.
    """
    if not any(environ.get(name) or environ.get(name.upper()) for name in _PROXIES):
        return
    known = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [name for name in known.replace(" ", "").split(",") if name]
    if "*" in names:
        return
    environ["no_proxy"] = environ["NO_PROXY"] = ",".join(dict.fromkeys([*names, *_THIS_MACHINE]))


def opened(url: str, headers: Mapping[str, str] | None = None, *, timeout: float) -> Any:
    """The answer to a GET, as urllib gives it. Raises HTTPError, URLError, OSError."""
    from urllib.request import Request, build_opener

    spare_loopback()
    # Not urlopen, which remembers the proxies of its first call.
    return build_opener().open(Request(url, headers=dict(headers or {})), timeout=timeout)


def request_to(uri: str) -> tuple[str, dict[str, str]]:
    """An MLflow server's address, and who is asking: by the URI, or by MLflow's own variables."""
    parts = urlsplit(uri)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return address, {"Authorization": f"Bearer {token}"}
    user = user or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = password or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if not user:
        return address, {}
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return address, {"Authorization": f"Basic {basic}"}

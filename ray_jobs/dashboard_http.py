"""The HTTP client of a Ray cluster's job API, with time limits and clear errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ray_jobs.client import RayConfig
from ray_jobs.errors import RayJobError, RayUnreachable
from registry.http import spare_loopback

_TIMEOUT_S = (3.0, 15.0)  # for the connection; for each answer


def open_job_client(config: RayConfig) -> Any:
    """A `JobSubmissionClient` of the cluster that has answered once.

    Raises RayUnreachable within seconds when none does, RayJobError when it refuses us.
    """
    address = address_of(config)
    spare_loopback()  # Ray's client asks by requests
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    class TimedClient(JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            # Ray's client waits for ever for a head that accepts and does not answer.
            options.setdefault("timeout", _TIMEOUT_S)
            return super()._do_request(method, endpoint, **options)

        def get(self, endpoint: str) -> Any:
            """The JSON behind an endpoint that Ray's own client has no method for."""
            answer = self._do_request("GET", endpoint)
            answer.raise_for_status()
            return answer.json()

    try:
        return TimedClient(address, headers=_headers(config))
    except AuthenticationError as error:
        raise RayJobError(
            f"Ray at {address} asks for a token that it was not given.",
            hint="Set ray.token_path to a copy of the cluster's token file.",
            permanent=True,
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise RayUnreachable(
            f"No Ray answers at {address}.",
            hint="Start it, or correct ray.address; ray=embedded runs without a cluster.",
        ) from error


def _headers(config: RayConfig) -> dict[str, str]:
    # Not by RAY_AUTH_TOKEN_PATH: Ray reads its environment once, when it is first imported.
    token = token_of(config)
    return {"Authorization": f"Bearer {token}"} if token else {}


def token_of(config: RayConfig) -> str | None:
    """The cluster's token; None when none is configured. Raises RayJobError."""
    if config.token_path is None:
        return None
    try:
        return Path(config.token_path).expanduser().read_text().strip()
    except OSError as error:
        raise RayJobError(
            f"The token of the Ray cluster cannot be read: {error.strerror}: {config.token_path}",
            hint="Set ray.token_path to a copy of the cluster's token file.",
            permanent=True,
        ) from error


def one_line(error: BaseException) -> str:
    """An error's text on one line, its end kept: Ray puts the cause last."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:80]} ... {text[-300:]}"


def address_of(config: RayConfig) -> str:
    address = config.address or ""
    if not address.startswith(("http://", "https://")):
        raise RayJobError(
            f"ray.address must be the URL of the cluster's dashboard, not {config.address!r}.",
            hint="ray.address=http://HEAD:8265",
            permanent=True,
        )
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        other = os.environ.get(name)
        if other and other.rstrip("/") != address.rstrip("/"):
            raise RayJobError(
                f"{name}={other} is set, and Ray would prefer it to ray.address={address}.",
                hint=f"unset {name}",
                permanent=True,
            )
    return address

"""Alerts: who is told when a run ends halted or failed.

Each alert is one line of `<home>/alerts.jsonl`, whatever else is configured; that file is the
channel of an installation without any URL. Services are reached through Apprise. Nothing here
raises: what could not be delivered is in the deliveries that come back, without a secret.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flows.core.errors import ConfigError
from flows.core.records import Run, RunStatus
from flows.settings import AlertsConfig, mask, reveal

FILE = "alerts.jsonl"
_WEB = frozenset({"http", "https", "json", "jsons", "xml", "xmls", "form", "forms"})
_SECRET_LENGTH = 6
"""Shorter parts of a URL are words such as `json` or `api`, and no secrets."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What is said: what happened, why, since when, and what to do next."""

    at: str  # ISO time of the run's end
    run: str  # id of the run
    flow: str
    status: str  # how the run ended
    reason: str  # one sentence
    since: str  # ISO time of the run's start
    next: str  # the command to type

    @property
    def title(self) -> str:
        """One line."""
        return f"Ratchet: {self.flow} {self.status}"

    @property
    def body(self) -> str:
        """A few lines."""
        return "\n".join(
            (
                f"{self.flow} {self.status}: {self.reason}",
                f"Run {self.run}, from {self.since} to {self.at}.",
                f"Next: {self.next}",
            )
        )


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of an alert on one channel."""

    channel: str  # `alerts.jsonl`, or the service, without anything secret
    delivered: bool
    problem: str | None = None  # one line


class Alerts:
    """Tells people how runs ended."""

    def __init__(self, config: AlertsConfig, home: Path) -> None:
        self.config = config
        self.home = home

    def notify(self, run: Run) -> tuple[Delivery, ...]:
        """Tell whoever is to know that the run ended; empty when its ending alerts nobody."""
        urls = self._urls(run.flow, run.status)
        return () if urls is None else self.send(_alert_of(run), urls)

    def test(self, now: datetime) -> tuple[Delivery, ...]:
        """Send a test to every URL of the config."""
        alert = Alert(
            at=_iso(now),
            run="none",
            flow="a test",
            status="sent",
            reason="somebody typed `ratchet alerts test`; nothing is wrong",
            since=_iso(now),
            next="nothing to do",
        )
        urls = (*self.config.urls, *(url for route in self.config.routes for url in route.urls))
        return self.send(alert, dict.fromkeys(urls))

    def send(self, alert: Alert, urls: Iterable[str]) -> tuple[Delivery, ...]:
        """Write the alert down, and deliver it to each URL."""
        sent = tuple(_deliver(alert, url) for url in urls)
        return (_write(self.home / FILE, alert, sent), *sent)

    def _urls(self, flow: str, status: RunStatus) -> tuple[str, ...] | None:
        """Where an ending is told; None: nowhere, not even in the file."""
        routes = [
            route
            for route in self.config.routes
            if status in route.on and any(fnmatchcase(flow, pattern) for pattern in route.flows)
        ]
        if routes:
            return tuple(dict.fromkeys(url for route in routes for url in route.urls))
        return self.config.urls if status in self.config.on else None


def undelivered(deliveries: Iterable[Delivery]) -> str | None:
    """One line about every channel that failed; None when none did."""
    failed = [f"{d.channel}: {d.problem}" for d in deliveries if not d.delivered]
    return f"the alert did not reach {'; '.join(failed)}" if failed else None


def _alert_of(run: Run) -> Alert:
    halted = run.status is RunStatus.HALTED
    return Alert(
        at=_iso(run.ended_at or run.created_at),
        run=run.id,
        flow=run.flow,
        status=run.status.value,
        reason=mask(run.reason or "no reason was recorded"),
        since=_iso(run.started_at or run.created_at),
        next=f"ratchet show {run.id}" if halted else f"ratchet retry {run.id}",
    )


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _write(path: Path, alert: Alert, sent: tuple[Delivery, ...]) -> Delivery:
    line = json.dumps(asdict(alert) | {"deliveries": [asdict(d) for d in sent]})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        return Delivery(channel=FILE, delivered=False, problem=error.strerror or str(error))
    return Delivery(channel=FILE, delivered=True)


def _deliver(alert: Alert, url: str) -> Delivery:
    channel = _channel(url)
    try:
        revealed = reveal(url)
    except ConfigError as error:
        return Delivery(channel=channel, delivered=False, problem=str(error).rstrip("."))
    try:
        problem = _send(alert, revealed)
    except Exception as error:  # a plugin's fault must not change how a run ended
        problem = f"{type(error).__name__}: {error}"
    if problem is None:
        return Delivery(channel=channel, delivered=True)
    return Delivery(channel=channel, delivered=False, problem=_without(revealed, problem, channel))


def _send(alert: Alert, url: str) -> str | None:
    """Deliver through Apprise; what went wrong, or None."""
    import apprise

    kinds: dict[str, Any] = {
        "failed": apprise.NotifyType.FAILURE,
        "halted": apprise.NotifyType.WARNING,
    }
    service = apprise.Apprise()
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
        if not service.add(url):
            return "this is no URL of a service that Apprise knows"
        done = service.notify(
            title=alert.title,
            body=alert.body,
            notify_type=kinds.get(alert.status, apprise.NotifyType.INFO),
        )
        lines = said.getvalue().strip().splitlines()
    if done:
        return None
    return lines[-1] if lines else "the service did not take it"


def _channel(url: str) -> str:
    """How a URL is called in messages: its service, and the host where that is no secret."""
    if "://" not in url:
        return url if url.startswith("secret:") else "a URL"
    parts = urlsplit(url)
    host = (parts.hostname or "") if parts.scheme in _WEB and "secret:" not in parts.netloc else ""
    return f"{parts.scheme}://{host}"


def _without(url: str, text: str, shown: str) -> str:
    """`text` in one line, without any part of `url` that may be secret and is not in `shown`."""
    parts = set(re.split(r"[/:@?&=#,;+]+", url)) - set(re.split(r"[/:]+", shown))
    parts = {part for part in parts if len(part) >= _SECRET_LENGTH}
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        text = text.replace(part, "***")
    return mask(" ".join(text.split()))

"""Who is told of what, and the way there: routes from the config, services through Apprise.

Each alert is one line of `<home>/alerts.jsonl`, whatever else is configured; that file is the
channel of an installation without any URL. Nothing here raises: what could not be delivered is
a problem in one line, without a secret.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flows.core import values
from flows.core.alert import (
    Alert,
    AlertKind,
    AlertRecord,
    Delivery,
    DeliveryState,
    Severity,
    Throttle,
)
from flows.core.courier import Courier
from flows.core.errors import ConfigError, StoreError
from flows.core.masking import mask
from flows.settings import AlertsConfig, reveal

FILE = "alerts.jsonl"
LARGEST = 10 << 20
"""Bytes of the file beyond which it goes to `alerts.jsonl.1`, and is begun anew."""
TIMEOUT = 15.0
"""Seconds that a service gets for one alert; to connect and to answer it gets 4 s each, unless
its URL says otherwise (`?cto=` and `?rto=`)."""
NO_SERVICE = "this is no URL of a service that Apprise knows"
_WEB = frozenset({"http", "https", "json", "jsons", "xml", "xmls", "form", "forms"})
_LONGEST_NAME = 180
"""Characters of a channel's name, without the part by which two of one service differ."""
_SECRET_LENGTH = 6
"""Shorter parts of a URL are words such as `json` or `api`, and no secrets."""


class Alerts:
    """The channels of one installation: what `flows.core.courier` sends through."""

    def __init__(self, config: AlertsConfig, home: Path) -> None:
        self.config = config
        self.home = home

    def has(self, channel: str) -> bool:
        """Whether the config has a channel of that name."""
        return channel == FILE or channel in self._named()

    def throttle(self, channel: str) -> Throttle | None:
        """How much a channel takes in a window; the file takes everything."""
        return None if channel == FILE else self.config.throttle

    def channels(self, alert: Alert) -> tuple[str, ...]:
        """The names of the channels that an alert has to reach: the file, then the services."""
        wanted = self._urls(alert)
        return (FILE, *(channel for channel, url in self._named().items() if url in wanted))

    def send(self, alert: Alert, channel: str) -> tuple[DeliveryState, str | None]:
        """Send an alert, and say how that went; with FAILED the problem, in one line."""
        if channel == FILE:
            return self._write(alert)
        return self._tell(masked(alert), self._named()[channel])

    def problems(self) -> dict[str, str | None]:
        """What keeps each channel from being told, as far as that is seen without sending.

        That a secret is not set here is no mistake of the config.
        """
        return {channel: _misfit(url) for channel, url in self._named().items()}

    def test(self, now: datetime) -> tuple[Delivery, ...]:
        """Send a test to every channel of the config, past the outbox."""
        alert = Alert(
            key=f"{AlertKind.TEST}:{now.isoformat()}",
            kind=AlertKind.TEST,
            severity=Severity.INFO,
            flow=None,
            subject="test",
            title="this is a test",
            reason="somebody typed `ratchet alerts test`; nothing is wrong",
            since=now,
            at=now,
            next="nothing to do",
        )
        deliveries = []
        for channel in (FILE, *self._named()):
            state, problem = self.send(alert, channel)
            delivery = Delivery(alert=alert.key, channel=channel, state=state, at=now)
            deliveries.append(replace(delivery, problem=problem))
        return tuple(deliveries)

    def _urls(self, alert: Alert) -> set[str]:
        """Whom an alert is for: every route that matches, or else the default."""
        routes = [
            route
            for route in self.config.routes
            if any(fnmatchcase(alert.flow or "", pattern) for pattern in route.flows)
            and (not route.severities or alert.severity in route.severities)
            and (not route.kinds or alert.kind in route.kinds)
        ]
        if routes:
            return {url for route in routes for url in route.urls}
        wanted = not self.config.kinds or alert.kind in self.config.kinds
        return set(self.config.urls) if wanted else set()

    def _named(self) -> dict[str, str]:
        """Channel -> URL: its service, and where two are called alike a part of its digest."""
        routed = (url for route in self.config.routes for url in route.urls)
        urls = dict.fromkeys((*self.config.urls, *routed))
        services = [_service(url)[:_LONGEST_NAME] for url in urls]
        return {
            name if services.count(name) == 1 else f"{name}#{_digest(url)}": url
            for name, url in zip(services, urls, strict=True)
        }

    def _write(self, alert: Alert) -> tuple[DeliveryState, str | None]:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            path = self.home / FILE
            if path.exists() and path.stat().st_size > LARGEST:
                path.replace(path.with_name(f"{FILE}.1"))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values.to_json(masked(alert)), ensure_ascii=False) + "\n")
        except OSError as error:
            return DeliveryState.FAILED, error.strerror or str(error)
        alone = not self._urls(alert)
        return (DeliveryState.DELIVERED if alone else DeliveryState.KEPT), None

    def _tell(self, alert: Alert, url: str) -> tuple[DeliveryState, str | None]:
        try:
            revealed = reveal(url)
        except ConfigError as error:
            return DeliveryState.FAILED, str(error).rstrip(".")
        try:
            problem = _send(alert, revealed)
        except Exception as error:  # a plugin's fault must not change how a run ended
            problem = f"{type(error).__name__}: {error}"
        if problem is None:
            return DeliveryState.DELIVERED, None
        return DeliveryState.FAILED, _without(revealed, problem, _service(url))


def masked(alert: Alert) -> Alert:
    """An alert fit for people: no text of it, nor a name, holds the credentials of a URL."""
    texts: dict[str, Any] = {n: mask(text) for n, text in vars(alert).items() if type(text) is str}
    return replace(alert, **texts)


def tell(courier: Courier, subject: str, now: datetime) -> str | None:
    """Deliver what is due about one run; one line about what did not work, or None.

    Nothing is sent twice when a courier runs beside: what one has taken, the other does not see.
    """
    try:
        return undelivered(courier.tick(now, subject=subject))
    except StoreError as error:
        return f"the alert waits in the outbox: {error}"


def undelivered(records: Iterable[AlertRecord]) -> str | None:
    """One line about every channel that failed; None when none did."""
    failed = {
        f"{delivery.channel}: {delivery.problem}": None
        for record in records
        for delivery in record.deliveries
        if delivery.tries and not delivery.state.done
    }
    return f"the alert did not reach {'; '.join(failed)}" if failed else None


def _misfit(url: str) -> str | None:
    import apprise

    try:
        revealed = reveal(url)
    except ConfigError:  # `ratchet doctor` looks for secrets
        return None
    return None if apprise.Apprise.instantiate(revealed) else NO_SERVICE


def _send(alert: Alert, url: str) -> str | None:
    """Deliver through Apprise; what went wrong, or None."""
    import apprise

    kinds: dict[Severity, Any] = {
        Severity.CRITICAL: apprise.NotifyType.FAILURE,
        Severity.WARNING: apprise.NotifyType.WARNING,
    }
    service = apprise.Apprise()
    if not service.add(url):
        return NO_SERVICE
    result = service.notify(
        title=f"Ratchet: {alert.title}",
        body=_body(alert),
        notify_type=kinds.get(alert.severity, apprise.NotifyType.INFO),
        timeout=TIMEOUT,
    )
    if result:
        return None
    if result.status == apprise.AppriseResultStatus.TIMEOUT:
        return f"no answer within {TIMEOUT:g} s"
    messages = [entry.message for entry in result.logs()]
    return messages[-1].rstrip(".") if messages else "the service did not take it"


def _body(alert: Alert) -> str:
    """A few lines: what and why, since when, and the next step."""
    since = f"Since {_minute(alert.since)}, noticed {_minute(alert.at)}: {alert.subject}."
    return "\n".join((f"{alert.title}: {alert.reason}", since, f"Next: {alert.next}"))


def _minute(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def _service(url: str) -> str:
    """How a URL is called in messages: its service, and the host where that is no secret."""
    if "://" not in url:
        return url if url.startswith("secret:") else "a URL"
    try:
        parts = urlsplit(url)
    except ValueError:  # Apprise says so when it is sent to; the other channels work
        return "a URL"
    host = (parts.hostname or "") if parts.scheme in _WEB and "secret:" not in parts.netloc else ""
    return f"{parts.scheme}://{host}"


def _without(url: str, text: str, shown: str) -> str:
    """`text` in one line, without any part of `url` that may be secret and is not in `shown`."""
    parts = set(re.split(r"[/:@?&=#,;+]+", url)) - set(re.split(r"[/:]+", shown))
    parts = {part for part in parts if len(part) >= _SECRET_LENGTH}
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        text = text.replace(part, "***")
    return mask(" ".join(text.split()))

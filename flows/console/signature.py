"""What a web hook signs: who it is, where it goes, what it says, and when.

    X-Ratchet-Signature: t=1764316800,v1=HEX

HEX is the HMAC-SHA256, with the web hook's secret, of `TIME.METHOD.PATH.BODY`: the seconds since
1970 that stand behind `t=`, the method in capitals, the path as it is sent (with its query), and
the bytes of the body. So it is good for one request, for five minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timedelta

VALID = timedelta(minutes=5)
"""How far the time of a signature may be from now, in either direction."""

_FORM = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


class Unsigned(Exception):
    """The signature does not fit, or its time is over; the message says which."""


def sign(secret: str, method: str, path: str, body: bytes, at: datetime) -> str:
    """The header's value for a request that is sent at a time."""
    seconds = int(at.timestamp())
    return f"t={seconds},v1={_digest(secret, seconds, method, path, body)}"


def verify(signature: str, secret: str, method: str, path: str, body: bytes, now: datetime) -> str:
    """The hex digits of a signature that fits, which no other request has. Raises Unsigned."""
    if not secret:
        raise Unsigned("the web hook's secret is empty: anybody could sign with it")
    form = _FORM.fullmatch(signature)
    if form is None:
        raise Unsigned("a signature is t=SECONDS,v1=HEX")
    expected = _digest(secret, int(form[1]), method, path, body)
    if not hmac.compare_digest(expected, form[2]):
        raise Unsigned("the signature does not fit this method, path, body and time")
    if abs(now.timestamp() - int(form[1])) > VALID.total_seconds():
        raise Unsigned("the signature is of another time: it is good for 5 minutes")
    return expected


def _digest(secret: str, seconds: int, method: str, path: str, body: bytes) -> str:
    text = f"{seconds}.{method}.{path}.".encode() + body
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()

"""What looks like a secret in a text, and the text without it.

Texts come from exceptions, drivers and people, and are shown and stored; a password that stands in
the URL of one of them is masked wherever it enters, and so is each secret that this process has
read, wherever it stands.
"""

from __future__ import annotations

import re
from urllib.parse import quote

REFERENCE = re.compile(r"(?<![A-Za-z0-9_])secret:([A-Z_][A-Z0-9_]*)")
"""Stands for a secret without being it."""

_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?P<user>[^\s/?#@]*)@")
_SECRET_PARAMETER = re.compile(
    r"([?&;](?:[\w-]*(?:pass|passwd|password|pwd|secret|token)|(?:[\w-]*(?:api|access|secret)[_-]?)?key"
    r"|signature|sig)=)[^&;\s]+",
    re.IGNORECASE,
)


SHORTEST = 6
"""Characters of a secret that is masked wherever it stands: `on` or `42` stand in any text."""

_read: set[str] = set()
"""The secrets that this process has read, as they are and as they stand in a URL. Kept here, as
whoever shows or stores a text knows nothing of who read what."""


def keep_out(secret: str) -> None:
    """Mask this secret, from now on, in every text that is shown or stored."""
    _read.update(form for form in (secret, quote(secret, safe="")) if len(form) >= SHORTEST)


def mask_secrets(text: str) -> str:
    """``text`` without the secrets that this process has read."""
    for secret in sorted(_read, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    return text


def refers_to_secret(text: str) -> bool:
    """Whether ``reveal`` would put a secret into ``text``."""
    return REFERENCE.search(text) is not None


def mask(text: str) -> str:
    """``text`` without secrets that were read, and the credentials in its URLs as ``***``.

    Masks passwords (``user:***@host``) and query parameters named like a secret (``?token=***``).
    A reference ``secret:NAME`` is no secret and stays. What a service hides in a path, as in
    ``https://hooks.slack.com/services/T/B/X``, is not recognised: refer to it as a secret.
    """
    return mask_secrets(_mask_urls(text))


def _mask_urls(text: str) -> str:
    text = _USERINFO.sub(_mask_userinfo, text)
    return _SECRET_PARAMETER.sub(lambda m: m[0] if REFERENCE.search(m[0]) else f"{m[1]}***", text)


def _mask_userinfo(match: re.Match[str]) -> str:
    user, colon, password = match["user"].partition(":")
    if REFERENCE.search(match["user"]):
        return match[0]
    return f"{match['scheme']}{user}:***@" if colon and password else match[0]


def plain_password(text: str) -> bool:
    """Whether ``text`` is a URL that carries a password in plain text."""
    return "://" in text and _mask_urls(text) != text

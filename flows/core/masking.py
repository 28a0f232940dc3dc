"""What looks like a secret in a text, and the text without it.

Texts come from exceptions, drivers and people, and are shown and stored; a password that stands in
the URL of one of them is masked wherever it enters.
"""

from __future__ import annotations

import re

REFERENCE = re.compile(r"(?<![A-Za-z0-9_])secret:([A-Z_][A-Z0-9_]*)")
"""Stands for a secret without being it."""

_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?P<user>[^\s/?#@]*)@")
_SECRET_PARAMETER = re.compile(
    r"([?&;](?:[\w-]*(?:pass|passwd|password|pwd|secret|token)|(?:[\w-]*(?:api|access|secret)[_-]?)?key"
    r"|signature|sig)=)[^&;\s]+",
    re.IGNORECASE,
)


def refers_to_secret(text: str) -> bool:
    """Whether ``reveal`` would put a secret into ``text``."""
    return REFERENCE.search(text) is not None


def mask(text: str) -> str:
    """``text`` with the credentials inside its URLs as ``***``, fit for a log or a page.

    Masks passwords (``user:***@host``) and query parameters named like a secret (``?token=***``).
    A reference ``secret:NAME`` is no secret and stays. What a service hides in a path, as in
    ``https://hooks.slack.com/services/T/B/X``, is not recognised: refer to it as a secret.
    """
    text = _USERINFO.sub(_mask_userinfo, text)
    return _SECRET_PARAMETER.sub(lambda m: m[0] if REFERENCE.search(m[0]) else f"{m[1]}***", text)


def _mask_userinfo(match: re.Match[str]) -> str:
    user, colon, password = match["user"].partition(":")
    if REFERENCE.search(match["user"]):
        return match[0]
    return f"{match['scheme']}{user}:***@" if colon and password else match[0]


def plain_password(text: str) -> bool:
    """Whether ``text`` is a URL that carries a password in plain text."""
    return "://" in text and mask(text) != text

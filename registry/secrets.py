"""What must never reach MLflow, whose readers are many: passwords and tokens."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_WORDS = "password|passwd|secret|token(?![a-z])|api_?key|access_?key|private_?key|credential"
_NAME = rf"[\w.-]*(?:{_WORDS})[\w.-]*"
# `scheme://user:password@host`: the password. Alone in a URL, a user name may be a token too.
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/@\s'\"]+@", re.IGNORECASE)
# `name: value` and `name=value`, as in YAML, JSON and .env files.
_BY_NAME = re.compile(
    rf"(?P<name>(?P<quote>['\"]?){_NAME}(?P=quote)[ \t]*[:=][ \t]*)"
    r"(?:\"[^\"\n]*\"|'[^'\n]*'|\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_IS_NAME = re.compile(rf"^{_NAME}$", re.IGNORECASE)
# Paths that are the secret themselves: chat webhooks.
_WEBHOOK = re.compile(r"(https://hooks\.[\w.-]+/)\S+?(?=['\"\s,}]|$)", re.IGNORECASE)


def redact_text(text: str) -> str:
    """The text with the values of secret-looking keys and the users of URLs masked."""
    return _BY_NAME.sub(lambda found: f"{found['name']}{MASK}", _redact_urls(text))


def redact(value: Any) -> Any:
    """The same for nested mappings and lists: whatever a secret-looking key holds is masked."""
    if isinstance(value, Mapping):
        return {
            key: MASK if _IS_NAME.match(str(key)) else redact(item) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return _redact_urls(value) if isinstance(value, str) else value


def _redact_urls(text: str) -> str:
    text = _IN_URL.sub(lambda found: f"{found['scheme']}{MASK}@", text)
    return _WEBHOOK.sub(rf"\g<1>{MASK}", text)

"""Credentials are masked wherever a text is shown or stored."""

from __future__ import annotations

import pytest

from flows.core.masking import mask, plain_password


@pytest.mark.parametrize(
    ("shown", "masked"),
    [
        ("postgresql://me:hunter2@db/r", "postgresql://me:***@db/r"),
        ("postgresql+psycopg://me:a:b@db/r", "postgresql+psycopg://me:***@db/r"),
        ("https://h/x?token=abc&page=2", "https://h/x?token=***&page=2"),
        ("mailto://h?user=me&pass=abc", "mailto://h?user=me&pass=***"),
        ("s3://b/x?aws_secret_key=abc", "s3://b/x?aws_secret_key=***"),
        ("cannot reach http://u:p@h:5000, retry", "cannot reach http://u:***@h:5000, retry"),
    ],
)
def test_credentials_inside_urls_are_masked(shown: str, masked: str) -> None:
    assert mask(shown) == masked
    assert mask(masked) == masked
    assert plain_password(shown)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////srv/ratchet.db",
        "postgresql://me@db/r?sslmode=require&sslkey=/etc/key.pem",
        "postgresql://me:secret:PG_PASSWORD@db/r",
        "https://h/x?token=secret:TOKEN",
        "me:password@example",
        "secret:URL",
    ],
)
def test_what_holds_no_credentials_stays_as_it_is(text: str) -> None:
    assert mask(text) == text
    assert not plain_password(text)

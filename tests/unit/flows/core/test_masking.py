"""Credentials are masked wherever a text is shown or stored."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flows.core import masking, values
from flows.core.executors.output import Output
from flows.core.executors.perform import describe
from flows.core.masking import mask, plain_password
from flows.settings import reveal


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


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has read a secret of a config."""
    monkeypatch.setattr(masking, "_read", set())
    reveal("secret:DB_KEY", {"DB_KEY": "p@ss word/1"})
    reveal("secret:PORT", {"PORT": "5432"})


@pytest.mark.usefixtures("read")
def test_a_secret_that_was_read_is_masked_wherever_it_stands_and_as_it_stands_in_a_url() -> None:
    said = "no login with p@ss word/1 at s3://x/p%40ss%20word%2F1 on port 5432"

    assert mask(said) == "no login with *** at s3://x/*** on port 5432"
    assert values.message(said) == mask(said)


@pytest.mark.usefixtures("read")
def test_an_exception_that_holds_a_secret_is_described_without_it() -> None:
    try:
        raise ValueError("bad key p@ss word/1")
    except ValueError as error:
        described = describe(error)

    assert "p@ss" not in values.dumps(described)
    assert described.message == "bad key ***"


@pytest.mark.usefixtures("read")
def test_a_log_holds_no_secret_that_was_read(tmp_path: Path) -> None:
    log = tmp_path / "task.log"
    with Output().into(str(log)):
        sys.stdout.write("connecting with p@ss word/1\n")

    assert log.read_text() == "connecting with ***\n"

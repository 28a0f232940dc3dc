"""What a database's complaints become: one line, the next step, and never its password."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from flows.core.errors import StoreError
from flows.core.store.database import Database, _explained

URL = "postgresql+psycopg://ratchet:geheim@127.0.0.1:1/ratchet"


@pytest.mark.parametrize("url", [URL, "postgresql+psycopg://r@127.0.0.1:1/r?password=geheim"])
def test_a_server_that_does_not_answer_is_one_line_without_the_password(url):
    refused = pytest.raises(StoreError, match="cannot be reached: Connection refused")
    with refused as caught, Database(url).read():
        pass
    assert "geheim" not in f"{caught.value}{caught.value.hint}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
            'FATAL:  password authentication failed for user "ratchet"\nMultiple attempts failed',
            'does not let us in: password authentication failed for user "ratchet"',
        ),
        (
            "terminating connection due to administrator command\nSSL connection has been closed",
            "cannot be reached: terminating connection due to administrator command",
        ),
        (
            "connection failed: FATAL:  the database system is starting up",
            "cannot be reached: the database system is starting up",
        ),
    ],
)
def test_what_a_server_says_becomes_one_sentence_with_the_next_step(said, meant):
    found = _explained(Exception(said), make_url(URL))
    assert str(found).endswith(meant)
    assert found.hint
    assert "geheim" not in str(found)


def test_a_write_after_the_server_has_closed_the_connection_does_not_notice(new_postgres):
    database, other = Database(new_postgres()), None
    try:
        with database.write() as connection:
            own = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        other = create_engine(database.url)
        with other.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": own})
        with database.write() as connection:
            assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != own
    finally:
        database.close()
        if other is not None:
            other.dispose()

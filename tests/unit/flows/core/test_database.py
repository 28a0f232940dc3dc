"""What a database's complaints become: one line, the next step, and never its password."""

from __future__ import annotations

import resource
import shutil
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from flows.core.errors import ConfigError, StoreError
from flows.core.store import Store
from flows.core.store.database import Database
from flows.core.store.driver_errors import explained

URL = "postgresql+psycopg://ratchet:geheim@127.0.0.1:1/ratchet"


@pytest.mark.parametrize("url", ["", "nonsense", "foo://x/y", "postgresql+nodriver://x/y"])
def test_the_url_of_no_known_database_is_told_with_those_that_are(url):
    with pytest.raises(ConfigError, match="no database that is known here") as caught:
        Database(url)
    assert "sqlite:///" in str(caught.value.hint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        *(
            f"postgresql+psycopg://r@127.0.0.1:1/r?{key}=geheim"
            for key in ("password", "sslpassword")
        ),
    ],
)
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
    found = explained(Exception(said), make_url(URL))
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


@contextmanager
def full_disk():
    """No file can grow."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def started_store(file):
    store = Store.open(f"sqlite:///{file}")
    with store.database.write() as connection:
        connection.execute(text("CREATE TABLE noted (word TEXT)"))
        connection.execute(text("INSERT INTO noted VALUES ('kept')"))
    return store


def noted(store):
    with store.database.read() as connection:
        return connection.execute(text("SELECT word FROM noted")).scalars().all()


def test_a_store_on_a_full_disk_can_be_read_and_says_why_it_cannot_be_written(tmp_path):
    started_store(tmp_path / "r.db").close()

    with full_disk():
        store = Store.open(f"sqlite:///{tmp_path}/r.db")
        assert noted(store) == ["kept"]
        with pytest.raises(StoreError, match=r"disk .* is full"), store.database.write():
            pass

    with store.database.write() as connection:  # there is space again
        connection.execute(text("INSERT INTO noted VALUES ('new')"))
    assert noted(store) == ["kept", "new"]
    store.close()


def test_what_a_full_disk_would_hide_is_not_left_out_in_silence(tmp_path):
    writing = started_store(tmp_path / "r.db")
    shutil.copy(tmp_path / "r.db", tmp_path / "copy.db")  # what stands in the log is not in it
    shutil.copy(tmp_path / "r.db-wal", tmp_path / "copy.db-wal")
    writing.close()

    with full_disk(), pytest.raises(StoreError, match=r"disk .* is full"):
        Store.open(f"sqlite:///{tmp_path}/copy.db")

    store = Store.open(f"sqlite:///{tmp_path}/copy.db")
    assert noted(store) == ["kept"]
    store.close()


def test_a_thread_that_goes_first_writes_again_once_there_is_space(tmp_path):
    started_store(tmp_path / "r.db").close()
    database = Database(f"sqlite:///{tmp_path}/r.db")
    with database.first():
        with full_disk(), database.read() as connection:
            assert connection.execute(text("SELECT word FROM noted")).scalar() == "kept"
        with database.write() as connection:
            connection.execute(text("INSERT INTO noted VALUES ('new')"))
    database.close()

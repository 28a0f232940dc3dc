"""The ledger on PostgreSQL: the same schema, the same refusals, one winner.

Needs the server's programs; without them, or a URL in RATCHET_TEST_POSTGRES, it is skipped.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from registry.database import open_database
from registry.ledger import Action, Change, EpochTaken, Ledger
from registry.locks import exclusive

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def programs() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    given = os.environ.get("RATCHET_TEST_POSTGRES")
    if given:
        yield given
        return
    pytest.importorskip("psycopg")
    folder = programs()
    if folder is None or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("PostgreSQL's programs are not installed")
    # Not below pytest's own folder, which only its owner may enter.
    home = Path(tempfile.mkdtemp(prefix="ratchet-pg-"))
    data = home / "data"
    # The server refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(home, "postgres")

    def run(*command: str) -> None:
        # Not captured through pipes: the server would keep them open for as long as it runs.
        subprocess.run([*user, *command], check=True, stdout=subprocess.DEVNULL, cwd=home)

    run(str(folder / "initdb"), "-A", "trust", "-U", "ratchet", "--no-sync", "-D", str(data))
    settings = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off"
    log = str(home / "log")
    run(str(folder / "pg_ctl"), "-D", str(data), "-w", "-l", log, "-o", settings, "start")
    try:
        yield f"postgresql+psycopg://ratchet@/postgres?host={home}"
    finally:
        run(str(folder / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(home)


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """A new database in the server."""
    name = f"ratchet_{abs(hash(request.node.name)) % 10**9}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return engine.url.set(database=name).render_as_string(hide_password=False)


def change(version: str) -> Change:
    return Change(
        model="digits",
        version=version,
        previous_version=None,
        action=Action.PROMOTE,
        verdict="{}",
        run_id=f"run-{version}",
        actor="me",
        reason="better",
        at=NOW,
    )


def test_connections_that_meet_a_new_database_at_once_all_succeed_and_one_wins(url: str) -> None:
    start, won, lost = threading.Barrier(4), [], []

    def race(version: str) -> None:
        start.wait()
        engine = open_database(url)
        try:
            won.append(Ledger(engine).append(change(version), 0).version)
        except EpochTaken:
            lost.append(version)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=race, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET at = 'x'",
        "DELETE FROM ledger_settlement",
        "TRUNCATE ledger_settlement",
    ],
)
def test_the_database_refuses_to_change_history(url: str, statement: str) -> None:
    engine = open_database(url)
    ledger = Ledger(engine)
    ledger.settle(ledger.append(change("1"), 0), NOW)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement))
    assert ledger.verify("digits") is None
    assert [entry.settled_at for entry in ledger.entries("digits")] == [NOW]
    engine.dispose()


def test_one_holds_the_advisory_lock_at_a_time(url: str) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.wait()
        with exclusive(url, "champion-digits"):
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with exclusive(url, "champion-digits"):
        entered.set()
        with exclusive(url, "champion-other"):
            order.append("first")
    waiting.join()
    assert order == ["first", "second"]

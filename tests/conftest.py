"""A real PostgreSQL for the tests that hold on every database."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


def postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian keeps off the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server: that of RATCHET_TEST_POSTGRES, or one of our own, on a socket."""
    if given := os.environ.get("RATCHET_TEST_POSTGRES"):
        yield given
        return
    folder = postgres_programs()
    if folder is None or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("PostgreSQL's programs are not installed, and RATCHET_TEST_POSTGRES not set")
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


@pytest.fixture(scope="session")
def new_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes an empty database in the server, and returns its URL."""
    numbers = count()

    def make() -> str:
        name = f"ratchet_{os.getpid()}_{next(numbers)}"
        engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return engine.url.set(database=name).render_as_string(hide_password=False)

    return make

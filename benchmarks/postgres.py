"""A PostgreSQL of our own for the figures that need one: durable, on a socket, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian keeps off the PATH; None: not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@contextmanager
def server() -> Iterator[str]:
    """The SQLAlchemy URL of a fresh server with its default durability (fsync on).

    Raises FileNotFoundError when PostgreSQL's programs are not installed.
    """
    folder = programs()
    if folder is None:
        raise FileNotFoundError("PostgreSQL's programs (initdb, pg_ctl) are not installed here")
    home = Path(tempfile.mkdtemp(prefix="ratchet-pg-"))
    # The server refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(home, "postgres")

    def run(program: str, *arguments: str) -> None:
        # Not captured through pipes: the server would keep them open for as long as it runs.
        command = [*user, str(folder / program), "-D", str(home / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=home)

    run("initdb", "-A", "trust", "-U", "ratchet")
    settings = f"-c listen_addresses= -c unix_socket_directories={home}"
    run("pg_ctl", "-w", "-l", str(home / "log"), "-o", settings, "start")
    try:
        yield f"postgresql+psycopg://ratchet@/postgres?host={home}"
    finally:
        run("pg_ctl", "-m", "fast", "stop")
        shutil.rmtree(home)

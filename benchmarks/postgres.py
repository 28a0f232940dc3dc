"""A PostgreSQL server of our own, on a socket, for figures, tests and kills; gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian keeps off the PATH; None: none to be used."""
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return None  # the server refuses to run as root
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class Server:
    """Made, but not started yet. Raises FileNotFoundError where PostgreSQL is not installed."""

    def __init__(self, *, durable: bool = True) -> None:
        """`durable`: with fsync, as in production; without, it is faster and survives no cut."""
        folder = programs()
        if folder is None:
            raise FileNotFoundError("PostgreSQL's programs (initdb, pg_ctl) cannot be used here")
        self._programs = folder
        self._user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._home = Path(tempfile.mkdtemp(prefix="ratchet-pg-"))
        if self._user:
            shutil.chown(self._home, "postgres")
        self._options = (
            f"-c listen_addresses= -c unix_socket_directories={self._home} "
            f"-c max_connections=200 -c fsync={'on' if durable else 'off'}"
        )
        self._run("initdb", "-A", "trust", "-U", "ratchet", "--no-sync")
        self.url = f"postgresql+psycopg://ratchet@/postgres?host={self._home}"  # for SQLAlchemy

    def start(self) -> None:
        """Start, and return once it answers."""
        self._run("pg_ctl", "-w", "-l", str(self._home / "log"), "-o", self._options, "start")

    def kill(self) -> None:
        """End it as a power cut would: nothing is finished, nothing is said."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Stop it, if it runs, and remove what it has written."""
        if (self._home / "data/postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self._home)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _run(self, program: str, *options: str) -> None:
        # Not captured through pipes: the server would keep them open for as long as it runs.
        command = [*self._user, str(self._programs / program), "-D", str(self._home / "data")]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, cwd=self._home)

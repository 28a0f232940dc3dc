"""A PostgreSQL server of our own, durable as in production, that is killed and comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import postgres_programs

SOCKET_ONLY = "-c listen_addresses= -c unix_socket_directories={home} -c max_connections=200"


class Server:
    """With fsync on, on a socket of its own."""

    def __init__(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise FileNotFoundError("PostgreSQL's programs are not installed")
        self._programs = programs
        self.home = Path(tempfile.mkdtemp(prefix="ratchet-soak-pg-"))
        self._user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._user:
            shutil.chown(self.home, "postgres")
        self._data = self.home / "data"
        self._run("initdb", "-A", "trust", "-U", "ratchet", "--no-sync", "-D", str(self._data))
        self.url = f"postgresql+psycopg://ratchet@/postgres?host={self.home}"

    def start(self) -> None:
        """Start, and return once it answers."""
        settings = SOCKET_ONLY.format(home=self.home)
        log = str(self.home / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", settings, "start")

    def kill(self) -> None:
        """End it as a power cut would: nothing is finished, nothing is said."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def remove(self) -> None:
        """Stop it and remove what it has written."""
        subprocess.run(
            [*self._user, str(self._programs / "pg_ctl"), "-D", str(self._data), "-m",
             "immediate", "stop"],
            check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.home,
        )  # fmt: skip
        shutil.rmtree(self.home)

    def _run(self, program: str, *options: str) -> None:
        command = [*self._user, str(self._programs / program), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.home)

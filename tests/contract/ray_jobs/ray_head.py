"""A real Ray cluster of one node for tests: loopback dashboard, own token, ended by its group."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE = 180.0
"""Seconds after which a test gives up; a head is up in ten on a quiet machine."""


def free_port() -> int:
    """A port that nobody listens on; above the range that Ray's workers use."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port > 20000:
            return port


class Head:
    """`ray start --head`, in a process group of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rr-"))  # socket paths must be short
        self.token = self.folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        self.address = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the cluster takes jobs."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        ports = {
            "port": free_port(),
            "dashboard-port": self.address.rpartition(":")[2],
            "dashboard-agent-listen-port": free_port(),
            "ray-client-server-port": free_port(),
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--{name}={port}" for name, port in ports.items()]
        command += ["--dashboard-host=127.0.0.1", "--num-cpus=2", "--disable-usage-stats"]
        command += ["--object-store-memory=100000000", f"--temp-dir={self.folder}"]
        with (self.folder / "head.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=kept | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._takes_jobs():
            assert self._process.poll() is None, (self.folder / "head.log").read_text()
            assert time.monotonic() < deadline, "the head does not answer"
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 of gcs, raylet and dashboard, as when the machine's memory runs out."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Ends it and removes what it wrote."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _takes_jobs(self) -> bool:
        request = urllib.request.Request(
            f"{self.address}/api/jobs/",
            headers={"Authorization": f"Bearer {self.token.read_text()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

"""Real processes of `ratchet`, that are killed with SIGKILL and started again."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent / "project"
RATCHET = str(Path(sys.executable).parent / "ratchet")
SKEWED = str(Path(__file__).parent / "skewed.py")
APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What puts a process into a PID namespace of its own, as a container does: one host name, but
process ids that mean something else."""


def can_be_apart() -> bool:
    """Whether this system lets us make PID namespaces."""
    return subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """One line that a Ray job has written."""

    what: str  # begin, end; beside: another job of its task was at work
    at: float  # seconds since the epoch
    attempt: str
    submission: str


class Fleet:
    """Processes by name, all over one store, in one project folder."""

    def __init__(self, folder: Path, store: str, project: Path = PROJECT) -> None:
        self.folder = folder / "project"
        shutil.copytree(project, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.log = folder / "attempts.log"
        self.log.touch()
        self.jobs = folder / "jobs.log"
        self.jobs.touch()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RATCHET_", "RAY_"))}
        self.marks = {"SOAK_LOG": str(self.log), "SOAK_JOBS": str(self.jobs)}
        self.environment = {**clean, **self.marks, "SOAK_STORE": store}
        self._commands: dict[str, list[str]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._said = (folder / "said.log").open("a+b")

    def start(self, name: str, *command: str, apart: bool = False, ahead: float = 0.0) -> None:
        """Start `ratchet <command>`, in a session of its own.

        Args:
            apart: in a PID namespace of its own.
            ahead: by so many seconds its clock is wrong.
        """
        ratchet = [sys.executable, SKEWED, str(ahead)] if ahead else [RATCHET]
        self._run(name, [*(APART if apart else ()), *ratchet, *command])

    def _run(self, name: str, command: list[str]) -> None:
        self._commands[name] = command
        self._processes[name] = subprocess.Popen(
            self._commands[name],
            cwd=self.folder,
            env=self.environment,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
        )

    def kill(self, name: str) -> None:
        """SIGKILL the process, and only it: what it had started has to notice by itself."""
        process = self._processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait()

    def pid(self, name: str) -> int:
        """The process id of the one of that name, dead or alive."""
        pid = self._processes[name].pid
        if self._commands[name][0] != APART[0]:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children")  # of `unshare`, which only waits
        try:
            return int(children.read_text().split()[0])
        except (OSError, IndexError):
            return pid

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What `ratchet <command>` says in this project, and how it ends."""
        return subprocess.run(
            [RATCHET, *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def again(self, name: str) -> None:
        """Start a killed one again."""
        self._run(name, self._commands[name])

    def ended(self) -> list[str]:
        """Those that have ended without being killed: their supervisor would start them again."""
        return [
            name for name, process in self._processes.items() if process.poll() not in (None, -9)
        ]

    def ready(self) -> bool:
        """Whether each of them has come so far that it ends in order when it is told to."""
        return all(_catches_sigterm(self.pid(name)) for name in self._processes)

    def stop(self, patience: float = 40.0) -> dict[str, int]:
        """SIGTERM all of them; how each ended."""
        for name, process in self._processes.items():
            if process.poll() is None:
                os.kill(self.pid(name), signal.SIGTERM)
        ended = {}
        for name, process in self._processes.items():
            try:
                ended[name] = process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                ended[name] = process.wait()
        self._said.close()
        return ended

    def said(self) -> str:
        """The last that the processes have printed."""
        self._said.seek(0)
        return "\n".join(self._said.read().decode(errors="replace").splitlines()[-60:])

    def left(self) -> list[int]:
        """Processes that are still there although all were stopped: by the log's name."""
        mark = f"SOAK_LOG={self.log}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
            except OSError:
                continue
        return found

    def fires(self, flow: str, name: str, every: str) -> None:
        """Add a schedule to the project, before anything is started."""
        config = self.folder / "conf" / "config.yaml"
        line = f"  {name}: {{flow: {flow}, every: {every}, missed: all, overlap: allow}}\n"
        config.write_text(config.read_text() + line)

    def locked(self) -> list[str]:
        """The tasks `<run>.<task>` of which a Ray job is at work: it holds their lock."""
        found = []
        for path in self.jobs.parent.glob(f"{self.jobs.name}.*"):
            with path.open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(path.name.removeprefix(f"{self.jobs.name}."))
        return found

    def job_lines(self) -> list[JobLine]:
        """When which job began and ended, as the jobs themselves have written."""
        rows = (line.split() for line in self.jobs.read_text().splitlines())
        return [
            JobLine(what=what, at=float(at), attempt=attempt, submission=submission)
            for what, at, attempt, submission in rows
        ]

    def lines(self) -> list[tuple[float, str]]:
        """When which attempt began, as the tasks themselves have written."""
        rows = (line.split() for line in self.log.read_text().splitlines())
        return [(float(at), attempt) for at, _, attempt in rows]


def _catches_sigterm(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has just ended by itself, as the store was away
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))

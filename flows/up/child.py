"""A server that `ratchet up` starts: found again after a crash, watched, and ended whole."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from flows.up.private_file import read_json, write_json
from flows.up.process import MARK, Process, family, session_members
from registry.http import spare_loopback

_log = logging.getLogger(__name__)

KEEPER = "keeper_"
"""Before what a record says of the process that starts the server again when it dies."""

_LOG_BYTES = 1 << 20
"""A child's log that has grown beyond this goes to `NAME.log.1`, and is begun anew."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a server is started."""

    command: Sequence[str]
    environment: Mapping[str, str]  # all of it
    address: str  # where people and programs reach it


class Kind(Protocol):
    """What is special about one kind of server."""

    @property
    def name(self) -> str:
        """`ray`, `mlflow`: of its record, its log, and what people are told."""

    def launch(self, before: Mapping[str, str]) -> Launch:
        """How to start it now; `before` is the record of the last one, whose ports it keeps."""

    def answers(self, address: str) -> bool:
        """Whether it is ready for work."""


class ChildState(StrEnum):
    """How a server stands."""

    STOPPED = "stopped"  # not started, or ended by us
    STARTING = "starting"  # runs, and has not answered yet
    UP = "up"  # answers
    SILENT = "silent"  # runs, and does not answer any more
    DEAD = "dead"  # its process is gone; it will be started again


class Child:
    """One server of a home. Its record, `<home>/up/<name>.json`, outlives us.

    `start` adopts the server of an earlier `ratchet up` that was killed. `stop` ends it with all
    that it started, however detached, and returns when that is gone. Not thread-safe.
    """

    def __init__(self, kind: Kind, home: Path) -> None:
        self.kind = kind
        self.adopted = False
        self.state = ChildState.STOPPED
        self._folder = home / "up"
        self._mark = f"{kind.name}:{home}"
        self._process: Process | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._record: dict[str, str] = {}

    @property
    def name(self) -> str:
        """`ray`, `mlflow`."""
        return self.kind.name

    @property
    def address(self) -> str | None:
        """Where it is reached; None before its first start."""
        return self._record.get("address")

    @property
    def pid(self) -> int | None:
        """Of its first process."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        """What it prints."""
        return self._folder / f"{self.name}.log"

    def start(self) -> None:
        """Adopt the one that runs, or start one. Raises OSError."""
        self._record = {k: str(v) for k, v in (read_json(self._path) or {}).items()}
        self._process = self._recorded()
        self.adopted = self._process is not None
        if self._process is None:
            self._end_leftovers()
            self._launch()
        else:
            self._record |= _identity(Process.of(os.getpid()), KEEPER)
            write_json(self._path, self._record)
        self.state = ChildState.STARTING

    def look(self, *, ask: bool = True) -> ChildState:
        """How it stands now: whether its process lives, and, when `ask`, its address answers."""
        if self._process is None or self.state is ChildState.STOPPED:
            return self.state
        self._rotate_log()
        if self._popen is not None:
            self._popen.poll()  # leaves no zombie
        if not self._process.alive:
            self.state = ChildState.DEAD
        elif not ask:
            pass
        elif self.kind.answers(self._record["address"]):
            self.state = ChildState.UP
        elif self.state is ChildState.UP:
            self.state = ChildState.SILENT
        return self.state

    def stop(self, grace: float) -> None:
        """End it and everything that carries its mark; by force after `grace` seconds."""
        if self._process is None:
            return
        everything = family(self._mark, self._process.pid)  # while the parents are known
        self._process.signal(signal.SIGTERM)
        self._wait_for([self._process], grace)
        self._end([*everything, *family(self._mark, self._process.pid)])
        if self._popen is not None:
            self._popen.wait()
            self._popen = None
        self._path.unlink(missing_ok=True)
        self._process = None
        self.state = ChildState.STOPPED

    # ------------------------------------------------------------------ inside

    def _rotate_log(self) -> None:
        """Keep what was printed last, twice at most; the server goes on appending to its file."""
        with suppress(OSError):  # it has not printed yet
            if self.log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self.name}.json"

    def _recorded(self) -> Process | None:
        process = recorded(self._record) if "address" in self._record else None
        return process if process is not None and process.alive else None

    def _end_leftovers(self) -> None:
        """End what a dead server left behind, but for Ray's jobs: those end by their markers."""
        leader = int(self._record.get("pid", 0))
        # Without a pid we died while it was started; then everything of it goes.
        left = session_members(leader) if leader else family(self._mark, -1)
        if left:
            _log.warning("%s: %d processes of a dead one are ended", self.name, len(left))
            self._end(left)

    def _launch(self) -> None:
        launch = self.kind.launch(self._record)
        keeper = _identity(Process.of(os.getpid()), KEEPER)
        self._record = {"address": launch.address, **keeper}
        write_json(self._path, self._record)
        self._rotate_log()
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                launch.command,
                env={**launch.environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C in the terminal is for us
            )
        started = Process.of(self._popen.pid)
        self._process = started or Process(pid=self._popen.pid, started=-1)
        self._record |= _identity(self._process)
        write_json(self._path, self._record)

    @staticmethod
    def _end(processes: Sequence[Process]) -> None:
        for process in processes:
            process.signal(signal.SIGKILL)
        Child._wait_for(processes, 10.0)

    @staticmethod
    def _wait_for(processes: Sequence[Process], seconds: float) -> None:
        limit = time.monotonic() + seconds
        while any(process.alive for process in processes) and time.monotonic() < limit:
            time.sleep(0.05)


def recorded(record: Mapping[str, object], who: str = "") -> Process | None:
    """The server that a record names, or its KEEPER, be it dead by now; None where it does not."""
    pid, started = record.get(f"{who}pid"), record.get(f"{who}started")
    if pid is None or started is None:
        return None
    return Process(pid=int(str(pid)), started=int(str(started)))


def _identity(process: Process | None, who: str = "") -> dict[str, str]:
    if process is None:
        return {}
    return {f"{who}pid": str(process.pid), f"{who}started": str(process.started)}


def clean_environment(drop: Sequence[str] = ()) -> dict[str, str]:
    """Our own environment, without the mark and the variables that begin with one of `drop`."""
    spare_loopback()
    dropped = (MARK, *drop)
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}

"""A worker process as its parent sees it: a process group, a socket, and a lifeline."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from flows.core import values
from flows.core.executors.process_main import Frames, Greeting, frame

# Not `-m`: under that, the module would be __main__, and tasks could not catch `Terminated`.
_START = "from flows.core.executors.process_main import main; main()"


class WorkerProcess:
    """One warm worker. Creating it starts it; it can be given work at once.

    Not thread-safe. Raises OSError when the process cannot be started.
    """

    def __init__(self) -> None:
        self.attempt_id: str | None = None  # what it works on
        self.stopping: str | None = None  # why it ends, once that has been asked for
        self.kill_at: float | None = None  # monotonic time at which it is ended by force
        self._unsent = b""
        self._frames = Frames()
        self.channel, theirs = socket.socketpair()
        # Held open as long as this process lives; see process_main.end_with_parent.
        lifeline, self._lifeline = os.pipe()
        try:
            self._process = _popen(theirs.fileno(), lifeline)
        except OSError:
            self.channel.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        # Its end, also where a child of a task keeps the socket open. Linux only.
        self.pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        greeting = Greeting(path=_import_path(), pythonpath=os.environ.get("PYTHONPATH"))
        self.send(frame(values.dumps(greeting)))

    @property
    def pid(self) -> int:
        """Of the process, its group and its session."""
        return self._process.pid

    @property
    def has_unsent(self) -> bool:
        """Does part of a message wait until the worker reads?"""
        return bool(self._unsent)

    def send(self, data: bytes) -> bool:
        """Send, or keep what does not fit for `flush`; False if the worker is gone."""
        self._unsent += data
        return self.flush()

    def flush(self) -> bool:
        """Send more of what was kept; False if the worker is gone."""
        try:
            while self._unsent:
                sent = self.channel.send(self._unsent, socket.MSG_DONTWAIT)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""
            return False
        return True

    def receive(self) -> tuple[list[str], bool]:
        """The messages that have come, and whether it is over with this worker.

        Raises ValueError when what came is not a message.
        """
        try:
            data = self.channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return [], self._has_ended()
        except OSError:
            return [], True
        return list(self._frames.feed(data)), not data

    def terminate(self, grace: float, reason: str) -> None:
        """Ask the group to end, and set the time from which it may be killed."""
        if self.stopping is None:
            self._signal(signal.SIGTERM)
        self.stopping = reason
        limit = time.monotonic() + max(0.0, grace)
        self.kill_at = limit if self.kill_at is None else min(limit, self.kill_at)

    def dismiss(self, grace: float) -> None:
        """Let an idle worker end by itself, within `grace` seconds."""
        self.kill_at = time.monotonic() + grace
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End the group now."""
        self._signal(signal.SIGKILL)
        self.kill_at = None

    def bury(self) -> str:
        """End what is left of the group, wait for the worker; says how it ended."""
        self.kill()
        code = self._process.wait()
        self.channel.close()
        os.close(self._lifeline)
        if self.pidfd is not None:
            os.close(self.pidfd)
        if code == -signal.SIGKILL:
            return "signal 9; perhaps the machine ran out of memory"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _signal(self, number: signal.Signals) -> None:
        # The process has not been waited for, so its id and its group's are still its own.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _has_ended(self) -> bool:
        if self.pidfd is None:
            return False  # the end of the stream will tell
        # Without waiting for it: until `bury`, the process keeps its id.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _popen(channel: int, lifeline: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START, str(channel), str(lifeline)],
        pass_fds=(channel, lifeline),
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
        start_new_session=True,
    )


def _import_path() -> tuple[str, ...]:
    return tuple(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100  ('' is here)

"""What a task prints and logs, sent to its own file although it shares this process."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

from flows.core.masking import mask_secrets

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Log:
    """A file that is created with the first line written to it."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._file: TextIO | None = None

    def write(self, text: str) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open(
                "a", buffering=1, encoding="utf-8", errors="backslashreplace"
            )
        return self._file.write(mask_secrets(text))

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


_current: ContextVar[_Log | None] = ContextVar("ratchet_task_log", default=None)


class _Routed:
    """Stands in for a standard stream: to the file of the running task, else as before."""

    def __init__(self, stream: Any, owner: Output) -> None:
        self.stream = stream
        self.owner = owner

    def write(self, text: str) -> int:
        return int((_current.get() or self.stream).write(text))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        (_current.get() or self.stream).flush()

    def isatty(self) -> bool:
        return _current.get() is None and bool(self.stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Copied(logging.Handler):
    """Copies the records of the running task to its file."""

    def emit(self, record: logging.LogRecord) -> None:
        log = _current.get()
        if log is not None:
            try:
                log.write(self.format(record) + "\n")
            except Exception:
                self.handleError(record)


class Output:
    """Captures what tasks in this process print, for as long as any of them runs.

    It follows the context of the task: threads that a task starts print as before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._copied = _Copied()
        self._copied.setFormatter(logging.Formatter(LOG_FORMAT))

    @contextmanager
    def into(self, path: str | None) -> Iterator[None]:
        """Send what is printed and logged in this block to the file, appending."""
        if path is None:
            yield
            return
        log = _Log(path)
        token = _current.set(log)
        self._begin()
        try:
            yield
        finally:
            self._end()
            _current.reset(token)
            log.close()

    def _begin(self) -> None:
        with self._lock:
            self._active += 1
            # Somebody (a test, a progress display) may have exchanged them since.
            if not self._routes(sys.stdout):
                sys.stdout = _Routed(sys.stdout, self)
            if not self._routes(sys.stderr):
                sys.stderr = _Routed(sys.stderr, self)
            self._copy_records()

    def _routes(self, stream: Any) -> bool:
        while isinstance(stream, _Routed):
            if stream.owner is self:
                return True
            stream = stream.stream
        return False

    def _copy_records(self) -> None:
        # Handlers that the application set up earlier hold the real streams. Without any,
        # logging itself prints to sys.stderr, and a handler of ours would end that.
        root = logging.getLogger()
        if root.handlers and not any(
            isinstance(h, _Copied) or isinstance(getattr(h, "stream", None), _Routed)
            for h in root.handlers
        ):
            root.addHandler(self._copied)

    def _end(self) -> None:
        with self._lock:
            self._active -= 1
            if self._active:
                return
            if isinstance(sys.stdout, _Routed) and sys.stdout.owner is self:
                sys.stdout = sys.stdout.stream
            if isinstance(sys.stderr, _Routed) and sys.stderr.owner is self:
                sys.stderr = sys.stderr.stream
            logging.getLogger().removeHandler(self._copied)

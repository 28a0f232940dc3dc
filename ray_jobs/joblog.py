"""What a job prints, kept where every backend and every reader finds it."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.errors import ArtifactError

_REMOTE_LIMIT = 8 * 1024 * 1024  # bytes; an object store takes the whole log at each flush


class JobLog:
    """Appends to `log.txt`: at once in a local folder, at each `flush` in an object store.

    A log that cannot be written (a full disk) never ends the job: the text still goes to
    Ray's own log.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._pending = False
        self._file: io.FileIO | None = None
        self._whole = bytearray()  # object stores only

    def write(self, text: str) -> None:
        """Adds text."""
        data = text.encode(errors="replace")
        with self._lock:
            if self._store.folder is not None:
                with suppress(OSError):
                    if self._file is None:
                        self._file = io.FileIO(self._store.folder / "log.txt", "a")
                    self._file.write(data)
            elif len(self._whole) < _REMOTE_LIMIT:
                self._whole += data
                if len(self._whole) >= _REMOTE_LIMIT:
                    self._whole += b"\n[log cut here; the rest is in Ray's own log of the job]\n"
                self._pending = True

    def flush(self) -> None:
        """Makes everything written so far visible to readers."""
        with self._lock:
            if not self._pending:
                return
            data, self._pending = bytes(self._whole), False
        try:
            self._store.write_bytes("log.txt", data)
        except ArtifactError:
            self._pending = True

    def close(self) -> None:
        """The last flush."""
        self.flush()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class _Tee(io.TextIOBase):
    """A text stream that writes to Ray's stream and to the job's log."""

    def __init__(self, original: TextIO, log: JobLog) -> None:
        self._original = original
        self._log = log

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        return self._original.buffer  # bytes go to Ray's log alone

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._original.fileno()

    def write(self, text: str) -> int:
        self._log.write(text)
        self._original.write(text)
        return len(text)

    def flush(self) -> None:
        self._original.flush()


@contextmanager
def captured(log: JobLog) -> Iterator[None]:
    """Sends stdout, stderr and log records from INFO on to the job's log as well."""
    out, err, root = sys.stdout, sys.stderr, logging.getLogger()
    level = root.level
    handler = logging.StreamHandler(_Tee(err, log))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    sys.stdout, sys.stderr = _Tee(out, log), _Tee(err, log)
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        sys.stdout, sys.stderr = out, err
        log.close()

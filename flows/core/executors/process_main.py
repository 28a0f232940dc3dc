"""What runs in a worker process: `main`, with the descriptors of a socket and a lifeline.

The parent sends frames over the socket: first a Greeting, then one Work at a time, each
answered by its Outcome. Both are JSON text; the process ends at the end of the stream.

A worker leads a session and a process group of its own, so Ctrl-C in the terminal does not
reach it, and all that a task starts can be ended with it. SIGTERM raises `Terminated` in the
running task, so that its `finally` blocks run.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from flows.core import values
from flows.core.executors.output import LOG_FORMAT
from flows.core.executors.perform import (
    Terminated,
    describe,
    outcome_to_text,
    perform,
    process_time,
    work_from_text,
)
from flows.core.executors.protocol import Outcome, OutcomeKind
from flows.core.masking import mask_secrets

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """The surroundings of the parent, for the worker to take over."""

    path: tuple[str, ...]  # sys.path
    pythonpath: str | None  # PYTHONPATH; the worker was started with another


def frame(text: str) -> bytes:
    """One message as it goes over the socket: its length in 4 bytes, then UTF-8."""
    data = text.encode("utf-8", "surrogatepass")  # paths may hold any bytes
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Cuts a stream of bytes into the messages that were framed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """Take bytes in, give out the messages that are whole."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(buffer)[0]
            if len(buffer) < end:
                return
            text = buffer[_LENGTH.size : end].decode("utf-8", "surrogatepass")
            del buffer[:end]
            yield text


def main() -> None:
    """Serve until the parent closes its end, or is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    end_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGTERM, _raise_terminated)
    output = _Output()
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        messages = _messages(channel)
        _take_over(values.loads(next(messages), Greeting))
        for text in messages:
            channel.sendall(frame(_answer(text, output)))
    except (Terminated, StopIteration, ConnectionError):
        sys.exit(128 + signal.SIGTERM)


def end_with_parent(lifeline: int) -> None:
    """End this process group when the parent does, however it ends.

    `lifeline` is a pipe whose other end only the parent holds, and into which nothing is ever
    written. Linux is asked to kill the group when that end closes (the signal of `O_ASYNC`),
    which needs no thread and works while a task holds the GIL; elsewhere a thread watches.
    """
    os.set_inheritable(lifeline, False)
    if not hasattr(fcntl, "F_SETSIG"):
        threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        os.read(lifeline, 1)
    except BlockingIOError:
        return
    _end_group()  # the parent was gone before we could ask


def _watch(lifeline: int) -> None:
    os.read(lifeline, 1)
    _end_group()


def _end_group() -> NoReturn:
    os.killpg(os.getpgrp(), signal.SIGKILL)
    sys.exit()  # not reached


def _raise_terminated(signum: int, where: FrameType | None) -> None:
    raise Terminated


def _messages(channel: socket.socket) -> Iterator[str]:
    frames = Frames()
    while data := channel.recv(1 << 16):
        yield from frames.feed(data)


def _take_over(greeting: Greeting) -> None:
    sys.path[:] = greeting.path
    os.environ.pop("PYTHONPATH", None)
    if greeting.pythonpath is not None:
        os.environ["PYTHONPATH"] = greeting.pythonpath


def _answer(text: str, output: _Output) -> str:
    work = work_from_text(text)
    signal.signal(signal.SIGTERM, _raise_terminated)  # a task before may have set its own
    try:
        output.into(work.log)
        outcome = perform(work, process_time)
        output.flush()
    except (OSError, ValueError) as error:  # of the log or of a closed stream; not of the task
        outcome = Outcome(
            attempt_id=work.attempt_id, kind=OutcomeKind.FAILED, error=describe(error)
        )
    return outcome_to_text(outcome)


class _Output:
    """Points the descriptors 1 and 2 at logs, so that child processes write there too.

    They stay there until the next task: what a task left running still prints to its log.
    """

    def __init__(self) -> None:
        self._inherited = os.dup(1), os.dup(2)
        sys.stdout, sys.stderr = map(_Stream, (sys.stdout, sys.stderr))

    def into(self, log: str | None) -> None:
        """Append to this file from now on; None: print where the parent prints."""
        if log is None:
            self._point(*self._inherited)
            return
        file = _open(log)
        self._point(file, file)
        os.close(file)

    def flush(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()

    def _point(self, out: int, err: int) -> None:
        os.dup2(out, 1)
        os.dup2(err, 2)


def _open(log: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        return os.open(log, flags, 0o666)
    except FileNotFoundError:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, flags, 0o666)


class _Stream(io.TextIOWrapper):
    """A standard stream without the secrets that this process has read.

    Line by line, so that a log can be followed; and no character may fail a task.
    """

    def __init__(self, stream: TextIO) -> None:
        buffer = stream.detach()  # type: ignore[attr-defined]
        super().__init__(buffer, "utf-8", "backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        return super().write(mask_secrets(text))

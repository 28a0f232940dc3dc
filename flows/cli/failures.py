"""Every error as one line, and the next thing to type."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Any

from flows.wording import one_line

USAGE = 2
"""What was typed, or what a config says, cannot be done as it stands."""

_USAGE_ERRORS = frozenset({"ConfigError", "GraphError", "NotFound", "Refused"})


def report(error: BaseException, *, debug: bool) -> int:
    """Print an error on stderr and return the exit code that it stands for."""
    if debug:
        traceback.print_exception(error)
    sentence, hint, code = _explained(error)
    say(f"error: {sentence}")
    if hint:
        say(f"  next: {hint}")
    return code


def say(line: str) -> None:
    """One line on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _explained(error: BaseException) -> tuple[str, str | None, int]:
    if hasattr(error, "format_message"):  # what Typer raises for wrong options and arguments
        sentence = one_line(error.format_message()).replace("Value error, ", "")
        return sentence, _help_of(error), USAGE
    if hasattr(error, "hint"):
        names = {kind.__name__ for kind in type(error).__mro__}
        code = USAGE if names & _USAGE_ERRORS else 1
        return one_line(error), error.hint, int(getattr(error, "exit_code", code))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        return (
            f"a disk is full{where}",
            "free some space (ratchet doctor says where), and type it again",
            1,
        )
    sentence = f"{type(error).__name__}: {one_line(error)}".rstrip(": ")
    return sentence, "run again with --debug to see where: ratchet --debug ...", 1


def _help_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'ratchet'} --help"

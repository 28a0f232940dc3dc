"""Entrypoints for the tests of ray_jobs.entry."""

from __future__ import annotations

import logging
import os
import signal
import sys


def shout(payload: str) -> str:
    print("printed", payload)  # noqa: T201
    print("complained", file=sys.stderr)  # noqa: T201
    logging.getLogger("mine").info("logged %s", payload)
    return payload.upper()


def fail(payload: str) -> str:
    raise KeyError(payload)


def leave(payload: str) -> str:
    sys.exit(3)


def answer_with_a_number(payload: str) -> int:
    return 3


class NoUse(Exception):
    """An error that follows the house's convention."""

    hint = "do something else"
    permanent = True


def refuse(payload: str) -> str:
    raise NoUse("no use")


def hear_sigterm(payload: str) -> str:
    """Is told to end; its finally block runs."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        print("cleaned up")  # noqa: T201
    return "not reached"

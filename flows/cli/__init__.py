"""One command, one service verb: `ratchet COMMAND`, or `python -m flows.cli COMMAND`."""

from flows.cli.app import main

__all__ = ["main"]

"""A group of commands that are imported when they are called, and the end of every error."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from flows.cli.failures import report


class Entry(NamedTuple):
    """One line of the help, and where its command is."""

    name: str
    section: str  # heading in the help
    module: str  # of flows.cli; there the command, or a group's Typer app, has this name
    help: str  # one sentence


class LazyGroup(TyperGroup):
    """Commands by the names of their modules.

    A command returns its exit code (None: 0). Whatever it raises is printed as one line with
    the next thing to type; `--debug` shows the traceback.
    """

    entries: ClassVar[tuple[Entry, ...]] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        return [entry.name for entry in self.entries]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now; None when there is none."""
        entry = next((e for e in self.entries if e.name == cmd_name), None)
        if entry is None:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(entry)
            gc.freeze()
        gc.enable()
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The help's list of commands, from the table alone."""
        width = max(len(entry.name) for entry in self.entries)
        for section in dict.fromkeys(entry.section for entry in self.entries):
            rows = [(e.name.ljust(width), e.help) for e in self.entries if e.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Which command `args` begin with. Raises UnknownCommand, naming the nearest."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            raise UnknownCommand(args[0], names)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors become one line and an exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            raise typer.Exit(report(error, debug=bool(ctx.params.get("debug")))) from error

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run, and exit with the code that the command returned."""
        extra["standalone_mode"] = False
        gc.disable()  # until the command is imported: what is imported stays, and is no garbage
        try:
            code = super().main(args, *more, **extra)
        except (typer.Abort, KeyboardInterrupt):
            code = 130
        except Exception as error:  # global options that make no sense
            code = report(error, debug=False)
        finally:
            gc.enable()
        sys.exit(code if isinstance(code, int) else 0)


class UnknownCommand(Exception):
    """There is no command of that name."""

    exit_code = 2

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(f"there is no command {name}")
        close = get_close_matches(name, names, n=1)
        self.hint = f"ratchet {close[0]}" if close else "ratchet --help"


def _load(entry: Entry) -> Any:
    declared = getattr(importlib.import_module(f"flows.cli.{entry.module}"), entry.name)
    if not isinstance(declared, typer.Typer):
        function, declared = declared, typer.Typer(add_completion=False, rich_markup_mode=None)
        declared.command(entry.name, context_settings={"max_content_width": 100})(function)
    command = get_command(declared)
    command.name = entry.name
    return command

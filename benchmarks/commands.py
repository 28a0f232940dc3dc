"""What the commands that only read cost: processor time of the whole process, imports and all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from benchmarks.measure import Case, Setting, side_by_side
from benchmarks.report import Aim, Figure, Kind

AIM = Aim(kind=Kind.AT_MOST, bound=0.5)
RATCHET = str(Path(sys.executable).with_name("ratchet"))
COMMANDS = ("runs", "show last", "ledger digits", "ledger digits --verify", "verdict", "champion")
FLOOR = "import of SQLAlchemy, Typer, pydantic, Rich"
IMPORTS = "import sqlalchemy, typer, pydantic, rich.console, rich.table; pydantic.TypeAdapter(int)"


def figures(setting: Setting) -> Iterator[Figure]:
    """In a project with the demo's five nights; the merged config is kept, as after any command."""
    subprocess.run([RATCHET, "demo"], cwd=setting.folder, check=True, stdout=subprocess.DEVNULL)
    cases = {name: _process([RATCHET, *name.split()], setting.folder) for name in COMMANDS}
    cases[FLOOR] = _process([sys.executable, "-c", IMPORTS], setting.folder)
    samples = side_by_side(cases, repeats=setting.of(15, 3), warm_up=2)
    floor = samples.pop(FLOOR)
    for name, sample in samples.items():
        yield Figure(
            name=f"ratchet {name}, processor time",
            unit="s",
            own=sample,
            beside={FLOOR: floor},
            aim=AIM,
        )


def _process(command: list[str], folder: Path) -> Case:
    run = partial(subprocess.run, command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def seconds() -> float:
        before = getrusage(RUSAGE_CHILDREN)
        run()
        after = getrusage(RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return seconds

"""What a person waits for before anything happens: `import flows`, `ratchet --help`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Case, Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind

AIM = Aim(kind=Kind.AT_MOST, bound=0.3)
PYTHON = (sys.executable, "-c")
RATCHET = str(Path(sys.executable).with_name("ratchet"))
BARE = "bare python"


def figures(setting: Setting) -> Iterator[Figure]:
    """Fresh processes, from start to end."""
    commands = {
        "import flows": [*PYTHON, "import flows"],
        "ratchet --help": [RATCHET, "--help"],
        BARE: [*PYTHON, "pass"],
    }
    cases = {name: _process(command, setting.folder) for name, command in commands.items()}
    samples = side_by_side(cases, repeats=setting.of(20, 5), warm_up=2)
    bare = samples.pop(BARE)
    for name, sample in samples.items():
        yield Figure(name=name, unit="s", own=sample, beside={BARE: bare}, aim=AIM)


def _process(command: list[str], folder: Path) -> Case:
    run = partial(subprocess.run, command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return lambda: seconds(run)

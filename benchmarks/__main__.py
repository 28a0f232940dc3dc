"""`python -m benchmarks [NAMES] [--quick]`: measure, print a table, and write build/bench.json."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.measure import Setting, seconds
from benchmarks.report import Figure, print_table, write_json

SUBJECTS = ("start", "listing", "core", "loop", "extraction", "point_in_time")
BUILD = Path(__file__).parents[1] / "build"


def main() -> None:
    """Measure the named subjects, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SUBJECTS))
    parser.add_argument("--quick", action="store_true", help="a first impression, in a minute")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - set(SUBJECTS))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(SUBJECTS)}")
    place = BUILD / "tmp"
    place.mkdir(parents=True, exist_ok=True)
    console = Console()
    here = machine.describe(place)
    found: list[Figure] = []
    for name in chosen.names or SUBJECTS:
        taken = seconds(lambda name=name: found.extend(_measure(name, place, chosen.quick)))
        console.print(f"[dim]{name}: {taken:.0f} s[/]")
    print_table(found, here, console)
    write_json(found, here, BUILD / "bench.json", quick=chosen.quick)


def _measure(name: str, place: Path, quick: bool) -> list[Figure]:
    subject = importlib.import_module(f"benchmarks.{name}")
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=place) as folder:
        return list(subject.figures(Setting(folder=Path(folder), quick=quick)))


if __name__ == "__main__":
    main()

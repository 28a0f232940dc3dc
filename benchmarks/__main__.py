"""`python -m benchmarks [NAMES] [--quick]`: measure, print a table, and write build/bench.json."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from benchmarks import machine, subjects
from benchmarks.report import Figure, print_table, write_json

BUILD = Path(__file__).parents[1] / "build"


def main() -> None:
    """Measure the named subjects, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(subjects.NAMES))
    parser.add_argument("--quick", action="store_true", help="a first impression, in a minute")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - set(subjects.NAMES))
    if unknown:
        parser.error(
            f"there is no benchmark {unknown[0]!r}; choose from {', '.join(subjects.NAMES)}"
        )
    place = BUILD / "tmp"
    place.mkdir(parents=True, exist_ok=True)
    console = Console()
    here = machine.describe(place)
    found: list[Figure] = []
    for name in chosen.names or subjects.NAMES:
        begun = time.perf_counter()
        # In a process of its own: imports, memory and environment are nobody else's.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            found += process.submit(subjects.measure, name, place, chosen.quick).result()
        console.print(f"[dim]{name}: {time.perf_counter() - begun:.0f} s[/]")
    print_table(found, here, console)
    write_json(found, here, BUILD / "bench.json", quick=chosen.quick)


if __name__ == "__main__":
    main()

"""`python -m tests.simulation --seed 4711 --trace` plays one seed again, line by line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from tests.simulation.database import Disk
from tests.simulation.story import Told, tell

SHARE = 100
"""Seeds that one process plays before it takes others."""
AGAIN = ".venv/bin/python -m tests.simulation --seed {seed} --trace"


def main() -> int:
    """Play one seed, or many of them on every core; 1 when an invariant was broken."""
    parser = argparse.ArgumentParser(prog="tests.simulation")
    parser.add_argument("--seed", type=int, help="play this one only")
    parser.add_argument("--trace", action="store_true", help="tell its story")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a story
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    if asked.seed is not None:
        return _report([_one(asked.seed, trace=asked.trace)], 0.0)
    begun = time.monotonic()
    seeds = range(asked.first, asked.first + asked.seeds)
    shares = [seeds[n : n + SHARE] for n in range(0, len(seeds), SHARE)]
    told: list[Told] = []
    with ProcessPoolExecutor(asked.jobs) as pool:
        for share in pool.map(play, shares):
            told += share
            if len(told) % 1000 == 0:
                _say(f"{len(told)} of {len(seeds)} seeds, {time.monotonic() - begun:.0f} s")
    return _report(told, time.monotonic() - begun)


def play(seeds: range) -> list[Told]:
    """Play these, one after the other."""
    logging.disable(logging.CRITICAL)
    disk = Disk()
    try:
        return [tell(seed, disk) for seed in seeds]
    finally:
        disk.remove()


def _one(seed: int, *, trace: bool) -> Told:
    disk = Disk()
    try:
        return tell(seed, disk, _say if trace else None)
    finally:
        disk.remove()


def _report(told: list[Told], seconds: float) -> int:
    broken = sorted((one for one in told if one.problems), key=lambda one: one.seed)
    for one in islice(broken, 20):
        _say(f"seed {one.seed}: {one.problems[0]}")
        for problem in one.problems[1:6]:
            _say(f"    {problem}")
        _say(f"    again: {AGAIN.format(seed=one.seed)}")
    counts: Counter[str] = sum((Counter(one.counts) for one in told), Counter())
    looked_at = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    _say(f"{len(told)} seeds ({seconds:.0f} s): {looked_at}")
    _say(f"{len(broken)} seeds broke an invariant")
    return 1 if broken else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())

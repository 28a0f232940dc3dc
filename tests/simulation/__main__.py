"""`python -m tests.simulation --seed 4711 --trace` plays one seed again, line by line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice

from benchmarks import postgres
from tests.simulation.database import Disk, new_database
from tests.simulation.mutations import MUTATIONS, found_by
from tests.simulation.states import STATES, unreached
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
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--mutations", action="store_true", help="the first seed of each fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a story
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    with ExitStack() as stack:
        url = None
        if asked.database == "postgresql":
            url = stack.enter_context(postgres.Server(durable=False)).url
        if asked.mutations:
            return _find_mutations()
        if asked.seed is not None:
            say = _say if asked.trace else None
            return _report(play(range(asked.seed, asked.seed + 1), url, say), 0.0)
        begun = time.monotonic()
        seeds = range(asked.first, asked.first + asked.seeds)
        shares = [seeds[n : n + SHARE] for n in range(0, len(seeds), SHARE)]
        told: list[Told] = []
        pool = stack.enter_context(ProcessPoolExecutor(asked.jobs))
        for share in pool.map(partial(play, url=url), shares):
            told += share
            if len(told) % 1000 == 0:
                _say(f"{len(told)} of {len(seeds)} seeds, {time.monotonic() - begun:.0f} s")
        return _report(told, time.monotonic() - begun, row_locks=url is not None)


def play(
    seeds: range, url: str | None = None, say: Callable[[str], None] | None = None
) -> list[Told]:
    """Play these, one after the other; in a database of their own on the server at `url`."""
    logging.disable(logging.CRITICAL)
    disk = Disk(url and new_database(url, f"nights_{seeds[0]}"))
    try:
        return [tell(seed, disk, say) for seed in seeds]
    finally:
        disk.remove()


def _find_mutations() -> int:
    """Say after how many seeds each fault in Ratchet itself is found; 1 when one is not."""
    logging.disable(logging.CRITICAL)
    disk, hidden = Disk(), 0
    for mutation in MUTATIONS:
        finding = found_by(mutation, disk)
        hidden += finding is None
        where = "not found" if finding is None else f"seed {finding[0]}: {finding[1]}"
        _say(f"{mutation.__name__}: {where}")
    disk.remove()
    return 1 if hidden else 0


def _report(told: list[Told], seconds: float, *, row_locks: bool = False) -> int:
    broken = sorted((one for one in told if one.problems), key=lambda one: one.seed)
    for one in islice(broken, 20):
        _say(f"seed {one.seed}: {one.problems[0]}")
        for problem in one.problems[1:6]:
            _say(f"    {problem}")
        _say(f"    again: {AGAIN.format(seed=one.seed)}")
    states = Counter(state for one in told for state in one.states)
    for state, seeds in states.most_common():
        _say(f"{seeds:6} seeds: {state}")
    missing = unreached(states, len(told), row_locks=row_locks)
    for state in missing:
        _say(f"no seed: {state}, reached at least once in {STATES[state]}")
    counts: Counter[str] = sum((Counter(one.counts) for one in told), Counter())
    looked_at = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    _say(f"{len(told)} seeds ({seconds:.0f} s): {looked_at}")
    _say(f"{len(broken)} seeds broke an invariant")
    return 1 if broken or missing else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())

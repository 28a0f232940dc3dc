"""`python -m tests.soak`: real processes, real kills; says what was counted."""

from __future__ import annotations

import argparse
import statistics
import sys

from tests.simulation.findings import Findings
from tests.soak.kills import ON_RAY, kill_at_random
from tests.soak.race import race
from tests.soak.recovery import restart_again_and_again


def main() -> int:
    """Every part, or one; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="tests.soak")
    parser.add_argument(
        "part", nargs="?", choices=["kills", "ray", "recovery", "race"], help="this part only"
    )
    parser.add_argument("--seconds", type=float, default=150.0, help="of killing")
    parser.add_argument("--ray-seconds", type=float, default=420.0, help="of killing, with Ray")
    parser.add_argument("--challengers", type=int, default=50, help="that race to be promoted")
    parser.add_argument("--race-kills", type=int, default=15, help="of workers in the race")
    parser.add_argument("--restarts", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    wrong = 0
    if asked.part in (None, "kills"):
        wrong += _report("kills", kill_at_random(asked.seconds, asked.seed, _say))
    if asked.part in (None, "ray"):
        found = kill_at_random(asked.ray_seconds, asked.seed, _say, ON_RAY)
        wrong += _report("kills with Ray", found)
    if asked.part in (None, "race"):
        wrong += _report("race", race(asked.challengers, asked.race_kills, asked.seed, _say))
    if asked.part in (None, "recovery"):
        seconds, found = restart_again_and_again(asked.restarts, asked.seed, _say)
        wrong += _report("recovery", found)
        _say(
            f"restart to next task: median {statistics.median(seconds):.2f} s, "
            f"longest {max(seconds):.2f} s, of {len(seconds)}"
        )
    return 1 if wrong else 0


def _report(part: str, found: Findings) -> int:
    counts = ", ".join(f"{count} {what}" for what, count in sorted(found.counts.items()))
    _say(f"{part}: {counts}; {len(found.problems)} problems")
    for problem in found.problems[:20]:
        _say(f"    {problem}")
    return len(found.problems)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""A team's flow, small enough to be run many times: its tasks note that they ran."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from flows.core.errors import Halt, Skip
from flows.core.flow import flow, task


@dataclass(frozen=True, kw_only=True)
class NightlyConfig:
    """conf/flow/nightly.yaml, typed."""

    ending: str = "succeed"  # succeed, halt, skip, fail, or repair (fail until `repaired` is there)
    notes: str = ""  # file that each task appends its name to
    block_in: str = ""  # the task that waits for ever
    parts: int = 2  # length of the mapped task


def note(notes: str, name: str, block_in: str) -> None:
    """Say that a task runs, and wait for ever in the one that is to block."""
    if notes:
        with Path(notes).open("a") as file:
            file.write(f"{name}\n")
    if block_in == name and not Path(f"{notes}.go").exists():
        signal.pause()


@task
def collect(cfg_notes: str, block_in: str) -> int:
    """The first task."""
    note(cfg_notes, "collect", block_in)
    print("collected")  # noqa: T201
    return 20


@task
def decide(number: int, ending: str, notes: str, block_in: str) -> int:
    """The task that decides how the run ends."""
    note(notes, "decide", block_in)
    if ending == "halt":
        raise Halt("the data is not fit: column price has 40 % nulls")
    if ending == "skip":
        raise Skip("no new data")
    if ending == "fail" or (ending == "repair" and not Path(f"{notes}.repaired").exists()):
        raise ValueError("the tap is closed")
    return number + 1


@task
def split(parts: int) -> list[int]:
    """What is mapped."""
    return list(range(parts))


@task
def double(part: int) -> int:
    """A mapped task."""
    print(f"part {part}")  # noqa: T201
    return 2 * part


@task
def report(number: int, doubled: list[int], notes: str, block_in: str) -> int:
    """The last task."""
    note(notes, "report", block_in)
    return number + sum(doubled)


@flow(config="nightly")
def nightly(cfg: NightlyConfig) -> None:
    """Collect, decide, double, report."""
    number = decide(collect(cfg.notes, cfg.block_in), cfg.ending, cfg.notes, cfg.block_in)
    report(number, double.map(split(cfg.parts)), cfg.notes, cfg.block_in)

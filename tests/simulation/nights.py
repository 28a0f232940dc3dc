"""The flows that run in the simulation, and what their tasks would return.

The functions are never called: the simulated executors answer for them. Every value that is
not needed to steer the flow is a stamp of the execution that made it, so that the checks can
see whose result was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.core import values
from flows.core.executors.protocol import Work
from flows.core.flow import Flow, flow, task, when
from flows.core.records import Asset, ErrorInfo, Outcome, OutcomeKind
from flows.core.retry import Backoff, Retry
from flows.core.service import digest
from tests.simulation.poison import POISONED, spoil
from tests.simulation.world import World

PATIENT = Retry(attempts=3, delay=5.0, backoff=Backoff.EXPONENTIAL, lost=1000)


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Who made this value."""

    attempt: str
    where: str  # the worker, or the cluster
    inputs: str  # digest of its arguments


@task(retry=PATIENT)
def poll() -> Stamp: ...  # type: ignore[empty-body]


@task(retry=PATIENT, pool="data")
def parts(polled: Stamp) -> list[int]: ...  # type: ignore[empty-body]


@task(retry=PATIENT, executor="cluster", pool="gpu")
def extract(part: int) -> Stamp: ...  # type: ignore[empty-body]


@task(retry=PATIENT, executor="cluster", timeout=30.0, pool="gpu", weight=2)
def train(extracted: list[Stamp]) -> Stamp: ...  # type: ignore[empty-body]


@task(retry=PATIENT)
def better(model: Stamp) -> bool: ...  # type: ignore[empty-body]


@task(retry=PATIENT)
def promote(model: Stamp) -> Stamp: ...  # type: ignore[empty-body]


@task(retry=PATIENT)
def halt(model: Stamp) -> Stamp: ...  # type: ignore[empty-body]


@task(retry=PATIENT, pool="data")
def report(last: Stamp) -> Stamp: ...  # type: ignore[empty-body]


@task(retry=PATIENT, cache=True, version="1")
def same() -> Stamp: ...  # type: ignore[empty-body]


@task(retry=PATIENT, executor="cluster", pool="gpu", weight=2)
def score(model: Stamp) -> Stamp: ...  # type: ignore[empty-body]


@flow(max_runs=2)
def loop() -> None:
    """Like the training loop: fan-out, two executors, a timeout, a branch, a halt."""
    polled = poll()
    model = train(extract.map(parts(polled)))
    good = better(model)
    when(good).then(promote(model))
    when(~good).then(halt(model))


@task(retry=PATIENT, run_if="all_done")
def summary(last: Stamp | None) -> Stamp: ...  # type: ignore[empty-body]


@flow
def chain() -> None:
    """Short, and often; something is said of it however it ends, and anew once it is retried."""
    summary(report(report(poll())))


@flow(priority=5)
def alone() -> None:
    """One task on the cluster."""
    train([])


@flow
def cached() -> None:
    """Its first task is taken over from another run: the second becomes claimable in that step."""
    score(same())


FLOWS: dict[str, Flow] = {which.name: which for which in (loop, chain, alone, cached)}

FAILURES = ("OSError", "TimedOut")
"""Types of the errors of which the runs of these flows fail."""


def answer(work: Work, where: str, world: World) -> Outcome:
    """How an execution of `work` would end."""
    chance = world.chance
    if work.flow in POISONED:
        return spoil(work, chance)
    name = work.task.partition("[")[0].partition("-")[0]
    roll = chance.random()
    if name == "halt" or (name == "poll" and roll < 0.03):
        return Outcome(attempt_id=work.attempt_id, kind=OutcomeKind.HALTED, reason="not better")
    if name == "poll" and roll < 0.08:
        return Outcome(attempt_id=work.attempt_id, kind=OutcomeKind.SKIPPED, reason="no new data")
    if roll > 1 - world.flaky:
        error = ErrorInfo(type="OSError", message="flaky", kinds=("builtins.OSError",))
        return Outcome(attempt_id=work.attempt_id, kind=OutcomeKind.FAILED, error=error)
    if name == "parts":
        value: object = list(range(chance.randint(0, 2)))
    elif name == "better":
        value = chance.random() < 0.6
    else:
        value = {"attempt": work.attempt_id, "where": where, "inputs": digest(work.arguments)}
    assets = (Asset(name="model:night", version=work.run_id),) if name == "promote" else ()
    return Outcome(
        attempt_id=work.attempt_id,
        kind=OutcomeKind.SUCCEEDED,
        value=values.dumps(value),
        cpu_seconds=1.0,
        assets=assets,
    )

"""What is said when a run has ended: its sentence, its verdict, and the next thing to type."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from flows.cli.wording import COLOURS, duration, mark
from flows.core.records import RunStatus, TaskStatus
from flows.core.store import RunDetail
from flows.documents import between, verdict_of, watch_line
from registry import Verdict


def say_ending(detail: RunDetail, console: Console, *, alive: bool = False) -> None:
    """Print how a run ended, or stands; `alive`: a worker is at it."""
    run = detail.run
    took = duration(between(run.started_at, run.ended_at))
    console.print(
        Text.assemble(
            (f"{mark(run.status, console)} {run.status.value}", f"bold {COLOURS[run.status]}"),
            (f" in {took}" if took else "", "dim"),
            f": {' '.join(run.reason.split())}" if run.reason else "",
        ),
        soft_wrap=True,
    )
    verdict = verdict_of(detail)
    if (watch := watch_line(detail)) is not None:
        console.print(f"watch: {watch}", markup=False, soft_wrap=True)
    if verdict is not None:
        console.print(f"verdict: {verdict_line(verdict)}", markup=False, soft_wrap=True)
    if (failed := hint_of(detail)) is not None:
        console.print(f"hint: {failed}", style="yellow", markup=False, soft_wrap=True)
    console.print(Text(f"next: {next_command(detail, alive=alive)}", style="dim"), soft_wrap=True)


def verdict_line(verdict: Verdict) -> str:
    """The verdict in one line, with its figures."""
    said = verdict.reason.rstrip(".")
    if verdict.difference is None or verdict.low is None or verdict.high is None:
        return f"{verdict.decision.value}: {said}"
    interval = f"{verdict.difference:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}]"
    return f"{verdict.decision.value}: {said} ({verdict.metric} {interval}, {verdict.rows} rows)"


def hint_of(detail: RunDetail) -> str | None:
    """What the first error of a failed run advises."""
    failed = [t.error for t in detail.tasks if t.status is TaskStatus.FAILED and t.error]
    return next((error.hint for error in failed if error.hint), None)


def next_command(detail: RunDetail, *, alive: bool = False) -> str:
    """What to type after this ending."""
    run = detail.run
    if alive and not run.status.ended:
        return f"ratchet logs {run.id} -f"
    if run.status is RunStatus.FAILED:
        failed = next((t.key for t in detail.tasks if t.status is TaskStatus.FAILED), "")
        return f"ratchet logs {run.id} {failed}\n  or: ratchet retry {run.id}"
    if run.status is RunStatus.CANCELLED or not run.status.ended:
        return f"ratchet retry {run.id}"
    verdict = verdict_of(detail)
    if run.status is RunStatus.SUCCEEDED and verdict is not None and verdict.promote:
        return f"ratchet champion {verdict.model}"
    halted = next((t.error for t in detail.tasks if t.status is TaskStatus.HALTED), None)
    if halted is not None and halted.hint:
        return halted.hint
    return f"ratchet show {run.id}"

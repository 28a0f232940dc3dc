"""`ratchet check`: everything that can be known to be wrong without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

import ray_jobs
from flows.bootstrap import Ratchet
from flows.cli.failures import one_line
from flows.cli.installation import opened
from flows.cli.wording import COLOURS, console, mark, print_json
from flows.config import compose
from flows.config.sources import config_path
from flows.core.errors import ConfigError, RatchetError
from flows.core.flow import Flow
from flows.core.occurrence import next_after
from flows.core.schedule import Cron, Deadline, Interval, Schedule
from flows.schedules import in_words


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str  # `flow retrain`, `config conf/flow/retrain.yaml`, `module team.flows`
    ok: bool
    problem: str | None = None  # one sentence
    hint: str | None = None  # what to do


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Validate flows, configs and schedules without running them; exit code 1 when one is wrong."""
    with opened(context) as ratchet:
        looks = (_modules, _flows, _configs, _code, _schedules, _pools)
        findings = [finding for look in looks for finding in look(ratchet)]
    wrong = [finding for finding in findings if not finding.ok]
    if as_json:
        print_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        _say(findings, len(wrong))
    return 1 if wrong else 0


def _modules(ratchet: Ratchet) -> Iterator[Finding]:
    broken = {each.module: each.error for each in ratchet.broken}
    for module in ratchet.settings.flows:
        error = broken.get(module)
        yield _finding(f"module {module}", error)


def _flows(ratchet: Ratchet) -> Iterator[Finding]:
    """A flow that could be imported has a valid graph; its config must be there too."""
    options = config_path(ratchet.project).options("flow")
    for name in ratchet.flows.names():
        flow = ratchet.flows.get(name)
        if flow.config in options:
            yield Finding(what=f"flow {name}, {len(flow.graph.nodes)} tasks", ok=True)
            continue
        try:
            ratchet.compose(flow)
        except RatchetError as error:
            yield _finding(f"flow {name}", error)
        else:
            yield Finding(what=f"flow {name}, {len(flow.graph.nodes)} tasks", ok=True)


def _configs(ratchet: Ratchet) -> Iterator[Finding]:
    """Each conf/flow/*.yaml, as the flow that names it, or else any flow, would use it."""
    flows = [ratchet.flows.get(name) for name in ratchet.flows.names()]
    path = config_path(ratchet.project)
    for name in path.options("flow"):
        own = [flow for flow in flows if flow.config == name]
        file = path.file(f"flow/{name}")
        if not own and file is not None and not file.is_relative_to(ratchet.project):
            continue  # Ratchet's own, for a flow that this project does not have
        users = own or [flow for flow in flows if flow.config_type is not None]
        if not users:  # its flow is broken, and reported as such
            continue
        errors = [_error_of(ratchet, flow, name) for flow in users]
        error = errors[0] if own else (None if None in errors else errors[0])
        yield _finding(f"config conf/flow/{name}.yaml", error)


def _code(ratchet: Ratchet) -> Iterator[Finding]:
    """The functions and estimators that the flows' configs name, imported but not called."""
    named: dict[str, None] = {}
    for name in ratchet.flows.names():
        with suppress(RatchetError):  # reported above
            named |= dict.fromkeys(ratchet.compose(ratchet.flows.get(name)).code.values())
    for path in named:
        try:
            ray_jobs.resolve(path, ratchet.settings.allowed_modules)
        except ray_jobs.RayJobError as error:
            yield Finding(what=f"name {path}", ok=False, problem=one_line(error), hint=error.hint)
        else:
            yield Finding(what=f"name {path}", ok=True)


def _schedules(ratchet: Ratchet) -> Iterator[Finding]:
    """What is declared to run by itself, each with its next time."""
    declared, now = ratchet.declared(), ratchet.clock.now()
    modules = {each.module for each in ratchet.broken}  # reported above
    for name, error in declared.problems.items():
        if name not in modules:
            yield _finding(f"schedule {name}", error)
    for schedule in declared.schedules:
        try:
            ratchet.schedules.validate(schedule)
        except RatchetError as error:
            yield _finding(f"schedule {schedule.name}", error)
        else:
            yield Finding(what=f"schedule {schedule.name}, {_when(schedule, now)}", ok=True)


def _when(schedule: Schedule, now: datetime) -> str:
    """Its trigger in words, and when that comes next."""
    trigger, words = schedule.trigger, in_words(schedule.trigger)
    at = next_after(trigger, now) if isinstance(trigger, Cron | Interval | Deadline) else None
    return words if at is None else f"{words}: next {at:%Y-%m-%d %H:%M}Z"


def _pools(ratchet: Ratchet) -> Iterator[Finding]:
    try:
        limits = ratchet.settings.limits()
    except ConfigError as error:
        yield _finding("pools", error)
    else:
        yield from (Finding(what=f"pool {name}", ok=True) for name in limits)


def _error_of(ratchet: Ratchet, flow: Flow, name: str) -> RatchetError | None:
    try:
        compose(name, flow.config_type, (), ratchet.project)
    except RatchetError as error:
        return error
    return None


def _finding(what: str, error: RatchetError | None) -> Finding:
    if error is None:
        return Finding(what=what, ok=True)
    problem = one_line(error).removeprefix(f"{what}: ")
    return Finding(what=what, ok=False, problem=problem, hint=error.hint)


def _say(findings: list[Finding], wrong: int) -> None:
    say = console()
    for finding in findings:
        status = "succeeded" if finding.ok else "failed"
        line = Text(f"{mark(status, say)} ", COLOURS[status]) + Text(finding.what)
        if finding.problem:
            line += Text(f": {finding.problem}", "red")
        if finding.hint:
            line += Text(f"  next: {finding.hint}", "dim")
        say.print(line, soft_wrap=True)
    say.print(f"{wrong} of {len(findings)} are wrong" if wrong else "everything is as it should be")

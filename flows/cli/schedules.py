"""`ratchet schedules` and `backfill`: what runs by itself, and what it has not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice, takewhile
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.installation import opened
from flows.cli.wording import console, cut, marked, outcome, print_json, span, table
from flows.config.duration import format_duration
from flows.core import due
from flows.core.errors import ConfigError, RatchetError
from flows.core.occurrence import NEVER, occurrences
from flows.core.schedule import (
    Cron,
    Deadline,
    Fire,
    FireOutcome,
    Interval,
    Schedule,
    ScheduleStatus,
    StoredSchedule,
)
from flows.core.schedule_service import Filled, Listed
from flows.declarations import in_words
from flows.documents import fire_json, iso, schedule_json
from flows.wording import ago, ahead, one_line, whoami

schedules = typer.Typer(add_completion=False, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a schedule.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

COMING = 3
"""Times to come that `show` lists."""


@schedules.callback(invoke_without_command=True)
def list_schedules(context: typer.Context, as_json: Json = False) -> None:
    """List the schedules: when each fires, how it stands, and what became of its last fire."""
    if context.invoked_subcommand is not None:
        return
    with opened(context) as ratchet:
        listed, declared = ratchet.schedules.list(), ratchet.declared()
        names = {each.stored.schedule.name for each in listed}
        unsaved = [schedule for schedule in declared.schedules if schedule.name not in names]
        if as_json:
            print_json(
                {
                    "schedules": [
                        schedule_json(each.stored) | {"last": each.last and fire_json(each.last)}
                        for each in listed
                    ],
                    "not_saved": [schedule.name for schedule in unsaved],
                    "problems": {n: one_line(error) for n, error in declared.problems.items()},
                }
            )
        else:
            _say_list(listed, unsaved, declared.problems, ratchet.clock.now())


@schedules.command("show")
def show(
    context: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many fires.")] = 20,
    as_json: Json = False,
) -> None:
    """Show a schedule, its next times, and its newest fires with their reasons."""
    with opened(context) as ratchet:
        stored, fires = ratchet.schedules.show(name, limit=limit)
        coming = _coming(stored, ratchet.clock.now())
        if as_json:
            times = {"coming": [iso(at) for at in coming]}
            fired = {"fires": [fire_json(fire) for fire in fires]}
            print_json(schedule_json(stored) | times | fired)
        else:
            _say_schedule(stored, coming, fires, ratchet.clock.now())


@schedules.command("pause")
def pause(
    context: typer.Context,
    name: Name,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    as_json: Json = False,
) -> None:
    """Keep a schedule from firing; its runs that are under way go on."""
    with opened(context) as ratchet:
        stored = ratchet.schedules.pause(name, by=whoami(), reason=reason)
        _say_status(stored, as_json, f"ratchet schedules resume {name}")


@schedules.command("resume")
def resume(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Let a paused or disabled schedule fire again; its `missed` says what it makes up for."""
    with opened(context) as ratchet:
        stored = ratchet.schedules.resume(name, by=whoami())
        _say_status(stored, as_json, f"ratchet schedules show {name}")


@schedules.command("fire")
def fire(
    context: typer.Context,
    name: Name,
    key: Annotated[
        str | None, typer.Option(help="Fires once for each key, however often it is asked.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Fire a schedule now; a worker starts its run."""
    with opened(context) as ratchet:
        fired = ratchet.schedules.fire(name, key=key, by=whoami())
        if as_json:
            print_json(fire_json(fired))
        else:
            _say_fired(ratchet, fired)
    return 0 if fired.run_id else 1


@schedules.command("sync")
def sync(
    context: typer.Context,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Also those that another project has declared.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Save what config and flows declare; `ratchet up` does so too. 1 when one is refused."""
    with opened(context) as ratchet:
        declared = ratchet.declared()
        synced = ratchet.schedules.sync(
            declared.schedules, declared.problems, broken=declared.broken, take_over=take_over
        )
    refused = {name: one_line(error) for name, error in synced.refused.items()}
    if as_json:
        changed = {"saved": synced.saved, "unchanged": synced.unchanged, "removed": synced.removed}
        print_json({**changed, "refused": refused})
        return 1 if refused else 0
    say = console()
    for title, names in (("saved", synced.saved), ("removed", synced.removed)):
        if names:
            say.print(f"{title}: {', '.join(names)}", markup=False)
    if not (synced.saved or synced.removed or refused):
        say.print(f"nothing has changed; {len(synced.unchanged)} schedules are as declared")
    _say_problems(synced.refused, say)
    return 1 if refused else 0


def _say_list(
    listed: Sequence[Listed],
    unsaved: Sequence[Schedule],
    problems: Mapping[str, RatchetError],
    now: datetime,
) -> None:
    say = console()
    if not (listed or unsaved or problems):
        say.print("no schedules yet; next: write one into conf/config.yaml, as docs/schedules.md")
        return
    lines = table("schedule", "flow", "when", "status", "last", "next", "reason", give=("reason",))
    for each in listed:
        stored, last = each.stored, each.last
        lines.add_row(
            stored.schedule.name,
            stored.schedule.flow,
            in_words(stored.schedule.trigger),
            marked(stored.status, say),
            Text(f"{last.outcome.value} {ago(last.decided_at, now)}" if last else "", "dim"),
            _next(stored, now),
            cut(stored.reason or (last.reason if last else None) or ""),
        )
    for schedule in unsaved:
        words = in_words(schedule.trigger)
        lines.add_row(schedule.name, schedule.flow, words, marked("declared", say), "", "", "")
    if listed or unsaved:
        say.print(lines)
    _say_problems(problems, say)
    if unsaved:
        say.print(
            Text("next: ratchet schedules sync, or ratchet up, saves what is declared", "dim")
        )


def _next(stored: StoredSchedule, now: datetime) -> str:
    """When it fires next, as far as the time alone tells."""
    if stored.status is not ScheduleStatus.ACTIVE:
        return ""
    if isinstance(stored.schedule.trigger, Cron | Interval):
        return ahead(stored.next_at, now)
    return next((f"for {at:%m-%d %H:%M}Z" for at in _coming(stored, now)), "")


def _coming(stored: StoredSchedule, now: datetime) -> list[datetime]:
    """The next times of a schedule that has some: of a deadline, the deadlines."""
    trigger = due.trigger_of(stored)
    if not isinstance(trigger, Cron | Interval | Deadline):
        return []
    decided = datetime.fromisoformat(stored.cursor["at"])
    since = max(decided, now) if stored.status is ScheduleStatus.ACTIVE else now
    return list(islice(occurrences(trigger, since, NEVER), COMING))


def _say_schedule(
    stored: StoredSchedule, coming: Sequence[datetime], fires: Sequence[Fire], now: datetime
) -> None:
    say, schedule = console(), stored.schedule
    say.print(Text(schedule.name, "bold") + f": flow {schedule.flow}, ", end="")
    say.print(in_words(schedule.trigger), markup=False, soft_wrap=True)
    reason = f": {stored.reason}" if stored.reason else ""
    say.print(marked(stored.status, say) + reason, soft_wrap=True)
    facts = {
        "overrides": " ".join(schedule.overrides),
        "missed": f"{schedule.missed.value}, grace {format_duration(schedule.grace)}",
        "overlap": schedule.overlap.value,
        "deadline": format_duration(schedule.deadline) if schedule.deadline else "",
        "declared in": schedule.origin.replace("@", " of ", 1).replace("@", ", "),
        "coming": ", ".join(f"{at:%Y-%m-%d %H:%M}Z" for at in coming),
        "skipping": _skipping(fires),
    }
    for name, fact in facts.items():
        if fact:
            say.print(Text(f"{name:12}", "dim") + fact, soft_wrap=True)
    if not fires:
        say.print(Text("it has not fired yet", "dim"))
        return
    lines = table("fire", "outcome", "run", "decided", "reason", give=("reason",))
    for each in fires:
        lines.add_row(
            each.key,
            marked(each.outcome, say),
            each.run_id or "",
            Text(ago(each.decided_at, now), "dim"),
            cut(each.reason or ""),
        )
    say.print(lines)


def _skipping(fires: Sequence[Fire]) -> str:
    """How many of the newest fires were skipped one after the other, and why."""
    skipped = list(takewhile(lambda fire: fire.outcome is FireOutcome.SKIPPED, fires))
    if len(skipped) < 2:
        return ""
    more = " or more" if len(skipped) == len(fires) else ""
    return f"{len(skipped)}{more} in a row: {skipped[0].reason}"


def _say_status(stored: StoredSchedule, as_json: bool, following: str) -> None:
    if as_json:
        print_json(schedule_json(stored))
        return
    say = console()
    reason = f": {stored.reason}" if stored.reason else ""
    sentence = f"schedule {stored.schedule.name} is {stored.status.value}{reason}"
    say.print(sentence, markup=False, soft_wrap=True)
    say.print(Text(f"next: {following}", "dim"))


def _say_fired(ratchet: Ratchet, fired: Fire) -> None:
    say = console()
    if fired.outcome is not FireOutcome.STARTED or fired.run_id is None:
        reason = f": {fired.reason}" if fired.reason else ""
        say.print(f"{fired.outcome.value}{reason}", markup=False, soft_wrap=True)
        say.print(Text(f"next: ratchet schedules show {fired.schedule}", "dim"))
        return
    say.print(f"schedule {fired.schedule} fired: run {fired.run_id}", markup=False)
    run = ratchet.service.find(fired.run_id)
    waits = run.status == "queued" and not ratchet.service.workers()
    following = "ratchet up, or ratchet worker: nobody is at work" if waits else None
    say.print(Text(f"next: {following or f'ratchet show {fired.run_id}'}", "dim"))


def _say_problems(problems: Mapping[str, RatchetError], say: Console) -> None:
    for name, error in problems.items():
        text = one_line(error).removeprefix(f"schedule {name}: ")
        say.print(outcome(name, False, text, say, following=error.hint), soft_wrap=True)


def backfill(
    context: typer.Context,
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="Name of a flow.")],
    since: Annotated[str, typer.Option("--from", help="First day or time: 2026-01-01.")],
    until: Annotated[str, typer.Option("--to", help="Day or time before which it ends.")],
    schedule: Annotated[
        str | None, typer.Option(help="Whose times. Default: the flow's only schedule by time.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="Distance of times, such as 1d, in place of a schedule.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would start.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Start at most so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Run a flow for each time of its schedule that has no run yet, the oldest first.

    Such runs wait behind all others. Times that ran are left alone, so it can be typed again.
    """
    with opened(context) as ratchet:
        filled = ratchet.schedules.backfill(
            ratchet.flow(flow).name,
            _time("--from", since),
            _time("--to", until),
            schedule=schedule,
            every=None if every is None else span(every, "--every"),
            dry_run=dry_run,
            limit=limit,
            by=whoami(),
        )
    if as_json:
        print_json(
            [{"at": iso(e.at), "key": e.key, "run": e.run_id, "started": e.started} for e in filled]
        )
    else:
        _say_filled(filled, dry_run)


def _time(option: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text!r} is no time", hint="write 2026-01-31, or 2026-01-31T06:00"
        ) from None


def _say_filled(filled: tuple[Filled, ...], dry_run: bool) -> None:
    say = console()
    if not filled:
        say.print("the schedule has no time in between")
        return
    lines = table("time", "run")
    for each in filled:
        if each.started:
            outcome = Text("would start" if dry_run else f"{each.run_id} started", "green")
        else:
            outcome = Text(f"{each.run_id} is there" if each.run_id else "left for later", "dim")
        lines.add_row(f"{each.at:%Y-%m-%d %H:%M}Z", outcome)
    say.print(lines)
    starts = sum(each.started for each in filled)
    verb = "would start" if dry_run else "started"
    there = sum(not each.started and each.run_id is not None for each in filled)
    following = "without --dry-run they start" if dry_run else "ratchet runs"
    line = f"{starts} of {len(filled)} {verb}, {there} are there already"
    say.print(line + (f"; next: {following}" if starts else ""), markup=False)

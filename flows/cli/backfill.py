"""`ratchet backfill`: the runs that a time in the past should have had."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Any

import typer
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.installation import flow_named, opened, whoami
from flows.cli.wording import console, print_json, table
from flows.config.duration import parse_duration
from flows.core.errors import ConfigError
from flows.core.occurrence import zone_of
from flows.core.schedule import Cron, Deadline
from flows.core.schedule_service import Filled
from flows.documents import iso


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
        name = flow_named(ratchet, flow).name
        zone = UTC if every else _zone(ratchet, name, schedule)
        filled = ratchet.schedules.backfill(
            name,
            _time("--from", since, zone),
            _time("--to", until, zone),
            schedule=schedule,
            every=_distance(every),
            dry_run=dry_run,
            limit=limit,
            by=whoami(),
        )
    if as_json:
        print_json([_json(each) for each in filled])
    else:
        _say(filled, dry_run)


def _zone(ratchet: Ratchet, flow: str, schedule: str | None) -> tzinfo:
    """The zone in which days are meant: that of the schedule whose times are filled."""
    found = [
        trigger.zone
        for listed in ratchet.schedules.list()
        if isinstance(trigger := listed.stored.schedule.trigger, Cron | Deadline)
        and listed.stored.schedule.flow == flow
        and schedule in (None, listed.stored.schedule.name)
    ]
    return zone_of(found[0]) if len(found) == 1 else UTC


def _time(option: str, text: str, zone: tzinfo) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text!r} is no time", hint="write 2026-01-31, or 2026-01-31T06:00"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def _distance(text: str | None) -> timedelta | None:
    if text is None:
        return None
    distance = parse_duration(text)
    if distance is None:
        raise ConfigError(f"--every {text!r} is no duration", hint="write 1d, 6h or 15m")
    return distance


def _json(filled: Filled) -> dict[str, Any]:
    return {
        "at": iso(filled.at),
        "key": filled.key,
        "run": filled.run_id,
        "started": filled.started,
    }


def _say(filled: tuple[Filled, ...], dry_run: bool) -> None:
    say = console()
    if not filled:
        say.print("the schedule has no time in between")
        return
    lines = table("time", "run")
    for each in filled:
        if each.started:
            said = Text("would start" if dry_run else f"{each.run_id} started", "green")
        else:
            said = Text(f"{each.run_id} is there" if each.run_id else "left for later", "dim")
        lines.add_row(f"{each.at:%Y-%m-%d %H:%M}Z", said)
    say.print(lines)
    starts = sum(each.started for each in filled)
    verb = "would start" if dry_run else "started"
    there = sum(not each.started and each.run_id is not None for each in filled)
    following = "without --dry-run they start" if dry_run else "ratchet runs"
    line = f"{starts} of {len(filled)} {verb}, {there} are there already"
    say.print(line + (f"; next: {following}" if starts else ""), markup=False)

"""`ratchet kpis`: how well the loop does its job, from the events alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.installation import opened
from flows.cli.wording import console, print_json, span, table
from flows.core.kpis import KINDS, Freshness, Kpis, Share, Times, measure
from flows.documents import iso
from flows.wording import duration


def kpis(
    context: typer.Context,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="How far back: 7d, 12h, or `all`.")
    ] = "7d",
    flow: Annotated[str | None, typer.Option(help="Only this flow.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show how reliable, how fresh and how efficient the loop is; docs/kpis.md has the formulas."""
    back = None if since == "all" else span(since, "--since")
    with opened(context) as ratchet:
        if flow is not None and not ratchet.service.runs(flow=flow, limit=1):
            ratchet.flow(flow)  # a name that no run has may be a mistake
        figures = _measured(ratchet, back, flow)
        if as_json:
            print_json(kpis_json(figures))
        else:
            _say(figures, since)


def _measured(ratchet: Ratchet, back: timedelta | None, flow: str | None) -> Kpis:
    """The KPIs of the runs that ended in the time `back` from now (None: of all).

    At most since events are kept: what is said of that time is right.
    """
    now, kept = ratchet.clock.now(), ratchet.service.store.retention.kept_since()
    since = None if back is None else now - back
    since = max((time for time in (since, kept) if time is not None), default=None)
    events = ratchet.service.store.reads.events_by_run(KINDS, since)
    return measure(events, since=since, until=now, flow=flow)


def kpis_json(figures: Kpis) -> dict[str, Any]:
    """The KPIs; times are seconds, shares are between 0 and 1, null: nothing to compute from."""
    return {
        "since": iso(figures.since),
        "until": iso(figures.until),
        "flow": figures.flow,
        "runs": figures.runs,
        "success_rate": _share_json(figures.success),
        "time_to_detection": _times_json(figures.detection),
        "deadline_adherence": _share_json(figures.deadlines),
        "data_freshness": [_fresh_json(fresh) for fresh in figures.data],
        "champion_freshness": [_fresh_json(fresh) for fresh in figures.champions],
        "compute_efficiency": {
            "cpu": _share_json(figures.cpu),
            "gpu": _share_json(figures.gpu),
            "estimated_attempts": figures.estimated,
        },
        "queue_time": _times_json(figures.queue),
        "attempts": figures.attempts,
        "retries": figures.retries,
        "recoveries": {"lost": figures.lost, "adopted": figures.adopted},
        "reopened": figures.reopened,
    }


def _share_json(share: Share) -> dict[str, Any]:
    return {"value": share.value, "part": share.part, "of": share.whole}


def _times_json(times: Times) -> dict[str, Any]:
    longest = times.longest_s if times.count else None
    return {"mean_s": times.mean_s, "longest_s": longest, "count": times.count}


def _fresh_json(fresh: Freshness) -> dict[str, Any]:
    age = fresh.age.total_seconds()
    return {"name": fresh.name, "version": fresh.version, "at": iso(fresh.at), "age_s": age}


def _rows(figures: Kpis) -> list[tuple[str, str, str, str]]:
    """Figure, its value, what it is of, and why there is none."""
    cancelled = figures.runs["cancelled"]
    ended = [f"{n} {how}" for how, n in figures.runs.items() if n and how != "cancelled"]
    of_runs = f"of {figures.success.whole:g} runs ({', '.join(ended)})"
    if cancelled:
        of_runs += f", without {cancelled} cancelled"
    return [
        (
            "success",
            _percent(figures.success),
            of_runs,
            "only cancelled runs ended" if cancelled else "no run ended",
        ),
        ("time to detection", *_mean(figures.detection, "alert", "no fault was alerted of")),
        (
            "deadlines met",
            _percent(figures.deadlines),
            f"of {figures.deadlines.whole:g} runs with a deadline",
            "no run had a deadline",
        ),
        ("data freshness", *_oldest(figures.data, "no flow has decided on data yet")),
        ("champion freshness", *_oldest(figures.champions, "no model was promoted yet")),
        (
            "CPU efficiency",
            _percent(figures.cpu),
            _used(figures.cpu, "CPU"),
            "no CPU time is known",
        ),
        ("GPU efficiency", _percent(figures.gpu), _used(figures.gpu, "GPU"), "no GPU was used"),
        ("queue time", *_mean(figures.queue, "run", "no run that ended was started")),
        ("retries", str(figures.retries), f"in {figures.attempts} attempts", ""),
        (
            "recoveries",
            str(figures.lost + figures.adopted),
            f"{figures.lost} lost and started again, {figures.adopted} adopted",
            "",
        ),
    ]


def _say(figures: Kpis, since: str) -> None:
    say = console()
    about = "all flows" if figures.flow is None else f"flow {figures.flow}"
    time = "all time" if since == "all" else f"the last {since}"
    begins, until = figures.since, figures.until
    if begins is not None and (since == "all" or until - begins < span(since, "--since")):
        time += f", as far as events are kept: since {begins.astimezone():%Y-%m-%d %H:%M}"
    say.print(Text(f"{about}, {time}", "bold"))
    lines = table("figure", "value", "of what", right=("value",), give=("of what",))
    for name, value, counts, nothing in _rows(figures):
        lines.add_row(name, value or "-", Text(counts if value else nothing, "dim"))
    say.print(lines)
    if figures.estimated:
        note = f"{figures.estimated} attempts left no account: their CPU time is their duration"
        say.print(Text(note, "dim"))


def _percent(share: Share) -> str:
    if share.value is None:
        return ""
    # What is not all is never shown as 100 %.
    shown = 100.0 if share.value >= 1 else min(round(100 * share.value, 1), 99.9)
    return f"{shown:g} %"


def _mean(times: Times, what: str, nothing: str) -> tuple[str, str, str]:
    many = "" if times.count == 1 else "s"
    counts = f"mean of {times.count} {what}{many}, longest {_time(times.longest_s)}"
    return _time(times.mean_s), counts, nothing


def _oldest(fresh: tuple[Freshness, ...], nothing: str) -> tuple[str, str, str]:
    if not fresh:
        return "", "", nothing
    oldest = fresh[0]
    more = f", the oldest of {len(fresh)}" if len(fresh) > 1 else ""
    counts = f"{oldest.name} version {oldest.version}{more}"
    return duration(oldest.age.total_seconds()), counts, nothing


def _used(share: Share, unit: str) -> str:
    return f"{_time(share.part)} of {_time(share.whole)} {unit} time"


def _time(seconds: float | None) -> str:
    """As `duration` says it, but what takes less than a second in milliseconds."""
    if seconds is None or seconds >= 1:
        return duration(seconds)
    return f"{1000 * seconds:.0f}ms"

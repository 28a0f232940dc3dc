"""`ratchet features quarantine`, `release`, `reset`: what a consumer reads of a view, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

import feature_store
from feature_store import Decision, FeatureStore, Watermark, Watermarks
from flows.bootstrap import Ratchet
from flows.cli.installation import opened
from flows.cli.wording import console, print_json
from flows.core.errors import Refused
from flows.settings import revealed
from flows.wording import ago, whoami

View = Annotated[str, typer.Argument(metavar="VIEW", help="Name of a view.")]
Versions = Annotated[list[int] | None, typer.Option("--version", help="Which version; repeatable.")]
Consumer = Annotated[
    str | None, typer.Option(help="The model that reads the view. Default: all that do.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
By = Annotated[str | None, typer.Option(help="Who does it, for the record. Default: you.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def quarantine(
    context: typer.Context,
    view: View,
    versions: Versions = None,
    consumer: Consumer = None,
    reason: Reason = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Set versions of a view aside: no model trains on the rows that they brought."""
    again = f"ratchet features quarantine {view} --version N"
    if not versions:
        raise Refused("name the versions to set aside", hint=f"{again} --reason TEXT")
    _require_reason(reason, again)
    with opened(context) as ratchet:
        _refuse_unknown_versions(ratchet, view, versions)
        marks = _marks(ratchet)
        made = _decision(ratchet, "quarantine", versions, reason, by)
        names = _consumers(ratchet, view, consumer)
        after = [marks.quarantine(view, name, tuple(sorted({*versions})), made) for name in names]
        _say(after, as_json, lambda mark: f"leaves out version {_numbers(versions)}")


def release(
    context: typer.Context,
    view: View,
    versions: Versions = None,
    consumer: Consumer = None,
    reason: Reason = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let repaired versions of a view out of quarantine; by default all of them."""
    with opened(context) as ratchet:
        store(ratchet).view(view)
        found = [m for m in watermarks(ratchet, view) if consumer in (None, m.consumer)]
        wanted = {m.consumer: _in_quarantine(m, versions) for m in found}
        if not any(wanted.values()):
            raise Refused(
                f"nothing of {view} is in quarantine", hint=f"ratchet features show {view}"
            )
        marks = _marks(ratchet)
        after = [
            marks.release(view, name, out, _decision(ratchet, "release", out, reason, by))
            for name, out in wanted.items()
            if out
        ]
        _say(after, as_json, lambda m: f"trains on version {_numbers(wanted[m.consumer])} again")


def reset(
    context: typer.Context,
    view: View,
    version: Annotated[
        int, typer.Option(help="The version to count as the last that was read.")
    ] = 0,
    consumer: Consumer = None,
    reason: Reason = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Set how far a view has been read; by default to nothing: all rows count as new again.

    A run that is under way moves it up again when it ends. The quarantine stays as it is.
    """
    _require_reason(reason, f"ratchet features reset {view}")
    with opened(context) as ratchet:
        _refuse_unknown_versions(ratchet, view, [version])
        marks = _marks(ratchet)
        made = _decision(ratchet, "reset", [version], reason, by)
        names = _consumers(ratchet, view, consumer)
        after = [marks.reset(view, name, version, made) for name in names]
        _say(after, as_json, lambda mark: f"has read up to version {mark.version}")


def store(ratchet: Ratchet) -> FeatureStore:
    """The feature store of an installation."""
    return feature_store.connect(revealed(ratchet.settings.feature_store))


def watermarks(ratchet: Ratchet, view: str) -> list[Watermark]:
    """How far each consumer has come in a view, by name."""
    marks = _marks(ratchet)
    found = (marks.get(view, consumer) for consumer in marks.consumers(view))
    return [mark for mark in found if mark is not None]


def watermark_json(mark: Watermark) -> dict[str, Any]:
    """A watermark as it is printed."""
    return {
        "consumer": mark.consumer,
        "version": mark.version,
        "quarantine": list(mark.quarantine),
        "released": list(mark.released),
        "decisions": [vars(one) | {"versions": list(one.versions)} for one in mark.decisions],
    }


def say_decisions(mark: Watermark, now: datetime) -> None:
    """Who decided what about a consumer's reading, and why; oldest first."""
    for one in mark.decisions:
        when = ago(datetime.fromisoformat(one.at), now)
        why = f": {one.reason}" if one.reason else ""
        line = f"  {one.action} of version {_numbers(one.versions)} by {one.actor}, {when}{why}"
        console().print(Text(line, "dim"), soft_wrap=True)


def _say(after: list[Watermark], as_json: bool, sentence: Callable[[Watermark], str]) -> None:
    if as_json:
        print_json([watermark_json(mark) for mark in after])
        return
    for mark in after:
        console().print(f"{mark.view}: {mark.consumer} {sentence(mark)}, from its next run on")


def _marks(ratchet: Ratchet) -> Watermarks:
    return Watermarks(revealed(ratchet.settings.feature_store))


def _decision(
    ratchet: Ratchet, action: str, versions: Sequence[int], reason: str, by: str | None
) -> Decision:
    now, who = ratchet.clock.now(), by or whoami()
    return Decision.made(action, versions, actor=who, reason=reason, now=now)


def _consumers(ratchet: Ratchet, view: str, consumer: str | None) -> list[str]:
    found = [consumer] if consumer else [mark.consumer for mark in watermarks(ratchet, view)]
    if not found:
        raise Refused(f"no model has read {view} yet", hint="name one with --consumer MODEL")
    return found


def _refuse_unknown_versions(ratchet: Ratchet, view: str, versions: list[int]) -> None:
    latest = store(ratchet).latest_version(view)
    for version in versions:
        if not 0 <= version <= latest:
            raise Refused(
                f"view {view} has no version {version}; the latest is {latest}",
                hint=f"ratchet features show {view}",
            )


def _require_reason(reason: str, command: str) -> None:
    if not reason.strip():
        raise Refused("this needs a reason, for the record", hint=f"{command} --reason TEXT")


def _in_quarantine(mark: Watermark, versions: list[int] | None) -> tuple[int, ...]:
    return tuple(n for n in mark.quarantine if versions is None or n in versions)


def _numbers(versions: Sequence[int]) -> str:
    return ", ".join(map(str, sorted({*versions})))

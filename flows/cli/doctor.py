"""`ratchet doctor`: is everything here that Ratchet needs, and does it answer?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from flows.bootstrap import bootstrap
from flows.cli import examinations as examine
from flows.cli.examinations import Finding
from flows.cli.failures import one_line
from flows.cli.installation import refuse_other_home
from flows.cli.place import Place
from flows.cli.wording import COLOURS, console, mark, print_json
from flows.config import compose
from flows.core.errors import RatchetError
from flows.settings import Settings


def doctor(
    context: typer.Context,
    ray: Annotated[
        bool, typer.Option("--ray", help="Start an embedded Ray too (a few seconds).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> int:
    """Look for what is missing or broken here; exit code 1 when something is."""
    place: Place = context.find_root().obj
    say = console(stderr=as_json)
    findings = []
    for finding in _findings(place, ray):
        findings.append(finding)
        if not as_json:  # one by one: some take seconds
            say.print(_line(finding), soft_wrap=True)
    problems = [finding for finding in findings if not finding.ok]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        say.print(f"{len(problems)} problems" if problems else "everything is as it should be")
    return 1 if problems else 0


def _findings(place: Place, ray: bool) -> Iterator[Finding]:
    yield examine.python()
    yield from examine.packages()
    try:
        settings = compose(project=place.project).settings
        refuse_other_home(place, settings)
    except RatchetError as error:
        yield Finding(what="config", ok=False, found=one_line(error), next=error.hint)
        return
    yield Finding(what="config", ok=True, found=f"project {settings.project}")
    secrets = examine.secrets(settings)
    yield secrets
    home = examine.home(Path(settings.home))
    yield home
    if not home.ok or not secrets.ok:
        return  # whatever follows would only say the same again
    yield from _store(settings)
    for what, look in _services(settings, ray):
        try:
            yield Finding(what=what, ok=True, found=look(settings))
        except Exception as error:  # whatever a library raises is what is wrong
            hint = getattr(error, "hint", None)
            yield Finding(what=what, ok=False, found=one_line(error), next=hint)


def _services(settings: Settings, ray: bool) -> list[tuple[str, Callable[[Settings], str]]]:
    asked = ray or settings.ray.mode == "cluster"
    return [
        ("feature store", examine.feature_views),
        ("artifacts", examine.artifacts),
        ("registry", examine.models),
        ("ray", examine.ray_resources if asked else examine.ray_not_asked),
    ]


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        ratchet = bootstrap(settings)
    except RatchetError as error:
        yield Finding(what="state store", ok=False, found=one_line(error), next=error.hint)
        return
    with suppress(RatchetError):
        yield Finding(what="state store", ok=True, found=ratchet.service.durability())
        yield from examine.flows(ratchet)
        yield from examine.workers(ratchet)
    ratchet.close()


def _line(finding: Finding) -> Text:
    status = "succeeded" if finding.ok else "failed"
    line = Text(f"{mark(status, console())} ", COLOURS[status])
    line += Text(finding.what.ljust(14)) + Text(finding.found, "dim" if finding.ok else "red")
    return line + Text(f"  next: {finding.next}" if finding.next else "", "yellow")

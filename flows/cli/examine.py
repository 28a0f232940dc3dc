"""`ratchet check`, `doctor`, `audit`: what is wrong here, known before, during and after runs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer
from packaging.requirements import Requirement
from rich.console import Console
from rich.text import Text

import feature_store
import ray_jobs
import registry
from flows.adapters.alerts import Alerts
from flows.bootstrap import Ratchet, bootstrap
from flows.cli.home import home_finding
from flows.cli.installation import opened, settings_of
from flows.cli.planned import misplanned
from flows.cli.wording import console, outcome, print_json
from flows.config import compose, schema
from flows.config.sources import config_path
from flows.core import findings
from flows.core.alert import AlertStatus
from flows.core.errors import RatchetError
from flows.core.findings import Finding
from flows.core.lease_keeper import living_among
from flows.core.occurrence import next_after
from flows.core.records import RunStatus
from flows.core.schedule import Cron, Deadline, Interval, Schedule
from flows.core.store.file_system import network_of
from flows.core.store.schedules import ScheduleStore
from flows.declarations import in_words
from flows.settings import Settings, reveal, revealed
from flows.up.ray_head import kept_head
from flows.wording import one_line
from registry.locks import sqlite_path

DEAD_ALERTS = 1000
"""Alerts that were given up, of which an audit tells."""
WELL = "everything is as it should be"

AsArray = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Validate flows, configs and schedules without running them; exit code 1 when one is wrong."""
    with opened(context) as ratchet:
        looks = (_modules, _flows, _configs, _code, _schedules, _pools, _channels)
        looked_at = [finding for look in looks for finding in look(ratchet)]
    wrong = sum(not finding.ok for finding in looked_at)
    if as_json:
        names = {"what": "what", "ok": "ok", "problem": "sentence", "hint": "next"}
        print_json({"ok": not wrong, "findings": _documents(looked_at, names)})
    else:
        _say(looked_at, f"{wrong} of {len(looked_at)} are wrong" if wrong else WELL)
    return 1 if wrong else 0


def doctor(
    context: typer.Context,
    ray: Annotated[
        bool, typer.Option("--ray", help="Start an embedded Ray too (a few seconds).")
    ] = False,
    as_json: AsArray = False,
) -> int:
    """Look for what is missing or broken here; exit code 1 when something is."""
    looked_at, into = [], console(stderr=as_json)
    for finding in _examined(context, ray):
        looked_at.append(finding)
        if not as_json:  # one by one: some take seconds
            into.print(_line(finding, into), soft_wrap=True)
    wrong = sum(not finding.ok for finding in looked_at)
    if as_json:
        names = {"what": "what", "ok": "ok", "found": "sentence", "next": "next"}
        print_json(_documents(looked_at, names))
    else:
        into.print(f"problems: {wrong}" if wrong else WELL)
    return 1 if wrong else 0


def audit(context: typer.Context, as_json: AsArray = False) -> int:
    """Look for schedules, flows, runs and alerts that have been forgotten; 1 when there are any."""
    with opened(context) as ratchet:
        forgotten = findings.audit(_facts(ratchet))
    if as_json:
        names = {"kind": "kind", "subject": "what", "sentence": "sentence", "next": "next"}
        print_json(_documents(forgotten, names))
    else:
        well = "nothing is stale, failing, orphaned or waiting in vain"
        _say(forgotten, f"{len(forgotten)} to look at" if forgotten else well)
    return 1 if forgotten else 0


# ---------------------------------------------------------------- what they print


def _say(looked_at: Sequence[Finding], conclusion: str) -> None:
    into = console()
    for finding in looked_at:
        into.print(_line(finding, into), soft_wrap=True)
    into.print(conclusion)


def _line(finding: Finding, into: Console) -> Text:
    what = finding.kind.replace("_", " ") if finding.kind else finding.what
    return outcome(what, finding.ok, finding.sentence, into, following=finding.next)


def _documents(looked_at: Sequence[Finding], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """What `--json` shows: fields of the findings, under a command's own names."""
    return [
        {name: getattr(finding, field) for name, field in names.items()} for finding in looked_at
    ]


def _tried(what: str, look: Callable[..., object], *args: Any) -> Finding:
    """Something that is well when `look` returns, with what it says, and wrong when it raises."""
    try:
        answer = look(*args)
    except Exception as error:  # whatever a library raises is what is wrong
        return _wrong(what, error)
    return Finding(what=what, sentence=answer if isinstance(answer, str) else None)


def _wrong(what: str, error: Exception) -> Finding:
    sentence = one_line(error).removeprefix(f"{what}: ")
    return Finding(what=what, ok=False, sentence=sentence, next=getattr(error, "hint", None))


# ---------------------------------------------------------------- check


def _modules(ratchet: Ratchet) -> Iterator[Finding]:
    for module in ratchet.settings.flows:
        what, error = f"module {module}", ratchet.broken.get(module)
        yield Finding(what=what) if error is None else _wrong(what, error)


def _flows(ratchet: Ratchet) -> Iterator[Finding]:
    """A flow that could be imported has a valid graph; its config must be there too."""
    options = config_path(ratchet.project).options("flow")
    for name in ratchet.flows.names():
        flow = ratchet.flows.get(name)
        finding = Finding(what=f"flow {name}, {len(flow.graph.nodes)} tasks")
        if flow.config not in options:  # otherwise `_configs` looks at it
            composed = _tried(f"flow {name}", ratchet.compose, flow)
            finding = finding if composed.ok else composed
        yield finding


def _configs(ratchet: Ratchet) -> Iterator[Finding]:
    """Each conf/flow/*.yaml, as the flow that names it, or else any flow, would use it."""
    flows = [ratchet.flows.get(name) for name in ratchet.flows.names()]
    path = config_path(ratchet.project)
    for name in path.options("flow"):
        own = [flow for flow in flows if flow.config == name]
        file = path.file(f"flow/{name}")
        if not own and file is not None and not file.is_relative_to(ratchet.project):
            continue  # Ratchet's own, for a flow that this project does not have
        users = own[:1] or [flow for flow in flows if flow.config_type is not None]
        what = f"config conf/flow/{name}.yaml"
        tried = [_tried(what, compose, name, f.config_type, (), ratchet.project) for f in users]
        # Without users its flow is broken, and reported as such.
        yield from sorted(tried, key=lambda finding: not finding.ok)[:1]


def _code(ratchet: Ratchet) -> Iterator[Finding]:
    """The functions and estimators that the flows' configs name, imported but not called."""
    names: dict[str, None] = {}
    for name in ratchet.flows.names():
        with suppress(RatchetError):  # reported above
            names |= dict.fromkeys(ratchet.compose(ratchet.flows.get(name)).code.values())
    for path in names:
        yield _tried(f"name {path}", ray_jobs.resolve, path, ratchet.settings.allowed_modules)


def _schedules(ratchet: Ratchet) -> Iterator[Finding]:
    """What is declared to run by itself, each with its next time."""
    declared, now = ratchet.declared(), ratchet.clock.now()
    for name, error in declared.problems.items():
        if name not in ratchet.broken:  # reported above
            yield _wrong(f"schedule {name}", error)
    for schedule in declared.schedules:
        finding = _tried(f"schedule {schedule.name}", ratchet.schedules.validate, schedule)
        if finding.ok:
            said, advice = misplanned(ratchet, schedule, now) or (None, None)
            what = f"schedule {schedule.name}, {_when(schedule, now)}"
            finding = Finding(what=what, sentence=said, next=advice)
        yield finding


def _when(schedule: Schedule, now: datetime) -> str:
    """Its trigger in words, and when that comes next."""
    trigger, words = schedule.trigger, in_words(schedule.trigger)
    at = next_after(trigger, now) if isinstance(trigger, Cron | Interval | Deadline) else None
    return words if at is None else f"{words}: next {at:%Y-%m-%d %H:%M}Z"


def _pools(ratchet: Ratchet) -> Iterator[Finding]:
    limits = _tried("pools", ratchet.settings.limits)
    if not limits.ok:
        yield limits
        return
    yield from (Finding(what=f"pool {name}") for name in ratchet.settings.limits())


def _channels(ratchet: Ratchet) -> Iterator[Finding]:
    """Whom alerts go to; nothing is sent."""
    for channel, problem in Alerts(ratchet.settings.alerts, ratchet.home).problems().items():
        next_step = problem and "the URLs of services: https://appriseit.com/services"
        yield Finding(what=f"alerts to {channel}", ok=not problem, sentence=problem, next=next_step)


# ---------------------------------------------------------------- doctor


def _examined(context: typer.Context, ray: bool) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    try:
        settings = settings_of(context)
    except RatchetError as error:
        yield _wrong("config", error)
        return
    yield Finding(what="config", sentence=f"project {settings.project}")
    secrets = _tried("secrets", _secrets, settings)
    yield secrets
    home = home_finding(Path(settings.home), in_file=settings.store.url.startswith("sqlite"))
    yield home
    if not home.ok or not secrets.ok:
        return  # whatever follows would only say the same again
    yield from _store(settings)
    asked = ray or settings.ray.mode == "cluster"
    yield _tried("feature store", _feature_views, settings)
    yield _tried("artifacts", _artifacts, settings)
    yield _tried("registry", _models, settings)
    yield _tried("ray", _ray_resources if asked else _ray_not_asked, settings)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    sentence = f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"
    next_step = None if ok else "use Python 3.11+"
    return Finding(what="python", ok=ok, sentence=sentence, next=next_step)


def _packages() -> Iterator[Finding]:
    """Installed versions against the ranges that this Ratchet was made for."""
    try:
        wanted = [Requirement(text) for text in requires("ratchet-ml") or ()]
    except PackageNotFoundError:
        yield Finding(what="packages", sentence="not installed as a package: nothing to hold")
        return
    needed = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    problems = [problem for requirement in needed if (problem := _problem(requirement))]
    for problem in problems:
        next_step = "pip install -U ratchet-ml"
        yield Finding(what="packages", ok=False, sentence=problem, next=next_step)
    if not problems:
        yield Finding(what="packages", sentence=f"{len(needed)} in their ranges")


def _problem(requirement: Requirement) -> str | None:
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name} {installed} is not {requirement.specifier}"


def _secrets(settings: Settings) -> str:
    """Every reference to a secret can be followed; none is shown. Raises ConfigError."""
    texts = (text for _, text in schema.texts(asdict(settings)))
    references = sorted({text for text in texts if "secret:" in text})
    for reference in references:
        reveal(reference)
    return f"{len(references)} used, all are set"


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        ratchet = bootstrap(settings)
    except RatchetError as error:
        yield _wrong("state store", error)
        return
    with closing(ratchet), suppress(RatchetError):
        yield Finding(what="state store", sentence=ratchet.service.durability())
        for module, problem in ratchet.broken.items():
            sentence = f"{module}: {one_line(problem)}"
            yield Finding(what="flows", ok=False, sentence=sentence, next=problem.hint)
        if not ratchet.broken:
            yield Finding(what="flows", sentence=", ".join(ratchet.flows.names()) or "none")
        yield from _workers(ratchet)


def _workers(ratchet: Ratchet) -> Iterator[Finding]:
    """Whoever is at work; runs that nobody is at any more."""
    alive = ratchet.service.workers()
    yield Finding(what="workers", sentence=f"{len(alive)} at work")
    for status in (RunStatus.RUNNING, RunStatus.CANCELLING):
        for run in () if alive else ratchet.service.runs(status=status):
            sentence = f"{run.id} is {run.status}, and its worker is dead"
            next_step = f"ratchet retry {run.id}"
            yield Finding(what="runs", ok=False, sentence=sentence, next=next_step)


def _feature_views(settings: Settings) -> str:
    """The views of the feature store. Raises FeatureStoreError."""
    views = feature_store.connect(revealed(settings.feature_store)).views()
    return f"{len(views)} views ({settings.feature_store.format})"


def _artifacts(settings: Settings) -> str:
    """The artifact store can be read. Raises RayJobError."""
    ray_jobs.ArtifactStore(settings.artifacts).list()
    return settings.artifacts


def _models(settings: Settings) -> str:
    """Ledger and MLflow answer. Raises RegistryError."""
    for url in (settings.registry.ledger_url, settings.registry.tracking_uri):
        _refuse_network(sqlite_path(url))
    with registry.Reader(revealed(settings.registry)) as connected:
        models = connected.ledger_models()
        path = settings.registry.tracking_uri.removeprefix("sqlite:///")
        if path != settings.registry.tracking_uri and not Path(path).exists():
            return "MLflow's database is made by the first run"
        for model in models:
            broken = connected.verify(model)
            if broken is not None:
                raise registry.LedgerBroken(
                    f"The history of {model} is broken at epoch {broken.epoch}: {broken.reason}.",
                    hint=f"ratchet ledger {model} --verify",
                )
            if not connected.ready(model):
                raise registry.RegistryError(
                    f"The last change of the champion of {model} is not complete.",
                    hint=f"ratchet champion {model} --export",
                )
        if not models:
            connected.knows("doctor")
    return f"{len(models)} models with a champion; MLflow answers"


def _refuse_network(path: Path | None) -> None:
    """Raise RegistryError for a file of SQLite that lies on a network."""
    kind = None if path is None else network_of(path)
    if kind is not None:
        raise registry.RegistryError(
            f"{path} lies on {kind}, and SQLite needs a local disk.",
            hint="keep it on a local disk, or use PostgreSQL: registry=server",
        )


def _ray_resources(settings: Settings) -> str:
    """Ray answers, or can be started. Raises RayJobError."""
    client = ray_jobs.connect(revealed(settings.ray), settings.artifacts, Path(settings.home))
    with closing(client):
        resources = client.resources()
    return f"{settings.ray.mode}: {resources.cpus:g} CPUs, {resources.gpus:g} GPUs"


def _ray_not_asked(settings: Settings) -> str:
    """An embedded Ray is that of a `ratchet up`, or starts with the first run."""
    if head := kept_head(Path(settings.home)):
        return f"that of `ratchet up`: {head}"
    return f"{settings.ray.mode}, starts with the first run; try it now: ratchet doctor --ray"


# ---------------------------------------------------------------- audit


def _facts(ratchet: Ratchet) -> findings.Facts:
    """What an audit needs to know. Raises StoreError."""
    store, now = ratchet.service.store, ratchet.clock.now()
    at_work = store.reads.workers_by_run()
    living = living_among(store, {name for names in at_work.values() for name in names})
    schedules = ScheduleStore(store.database, ratchet.owners)
    listed = schedules.list()
    return findings.Facts(
        now=now,
        schedules=listed,
        fires={
            each.schedule.name: schedules.fires(each.schedule.name, findings.IN_A_ROW)
            for each in listed
        },
        results=store.reads.results(findings.IN_A_ROW),
        flows=frozenset(ratchet.flows.names()),
        newest=store.reads.newest_by_flow(),
        open_runs=store.reads.open_runs(),
        alone=frozenset(run_id for run_id, names in at_work.items() if not names & living),
        workers=len(ratchet.service.workers()),
        dead_alerts=store.outbox.list(status=AlertStatus.DEAD, limit=DEAD_ALERTS),
    )

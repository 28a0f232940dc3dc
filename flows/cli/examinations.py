"""What `ratchet doctor` looks at, one function for each."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import feature_store
import ray_jobs
import registry
from flows.bootstrap import Ratchet
from flows.cli.failures import one_line
from flows.core.errors import ConfigError
from flows.core.records import RunStatus
from flows.settings import Settings, reveal, revealed

ENOUGH_DISK = 2 * 2**30
"""Bytes that a few training sets and models need."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, and how it is."""

    what: str
    ok: bool
    found: str  # one line
    next: str | None = None  # what to do about it


def python() -> Finding:
    """The interpreter."""
    ok = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"
    return Finding(what="python", ok=ok, found=found, next=None if ok else "use Python 3.11+")


def packages() -> Iterator[Finding]:
    """Installed versions against the ranges that this Ratchet was made for."""
    try:
        wanted = [Requirement(text) for text in requires("ratchet-ml") or ()]
    except PackageNotFoundError:
        yield Finding(what="packages", ok=True, found="not installed as a package: nothing to hold")
        return
    needed = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = [problem for requirement in needed if (problem := _problem(requirement))]
    for problem in wrong:
        yield Finding(what="packages", ok=False, found=problem, next="pip install -U ratchet-ml")
    if not wrong:
        yield Finding(what="packages", ok=True, found=f"{len(needed)} in their ranges")


def _problem(requirement: Requirement) -> str | None:
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name} {installed} is not {requirement.specifier}"


def secrets(settings: Settings) -> Finding:
    """Every reference to a secret can be followed; none is shown."""
    references = sorted({text for text in _texts(asdict(settings)) if "secret:" in text})
    for reference in references:
        try:
            reveal(reference)
        except ConfigError as error:
            return Finding(what="secrets", ok=False, found=one_line(error), next=error.hint)
    return Finding(what="secrets", ok=True, found=f"{len(references)} used, all are set")


def home(folder: Path) -> Finding:
    """The home can be written, and has room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"ratchet")
    except OSError as error:
        return Finding(
            what="home",
            ok=False,
            found=f"{folder} cannot be written: {error.strerror}",
            next="choose another: ratchet --home FOLDER ..., or RATCHET_HOME",
        )
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {free / 2**30:.1f} GiB free"
    enough = free >= ENOUGH_DISK
    return Finding(what="home", ok=enough, found=found, next=None if enough else "free some space")


def flows(ratchet: Ratchet) -> Iterator[Finding]:
    """Every module of flows can be imported."""
    for broken in ratchet.broken:
        found = f"{broken.module}: {one_line(broken.error)}"
        yield Finding(what="flows", ok=False, found=found, next=broken.error.hint)
    if not ratchet.broken:
        yield Finding(what="flows", ok=True, found=", ".join(ratchet.flows.names()) or "none")


def workers(ratchet: Ratchet) -> Iterator[Finding]:
    """Whoever is at work; runs that nobody is at any more."""
    alive = ratchet.service.workers()
    yield Finding(what="workers", ok=True, found=f"{len(alive)} at work")
    for status in (RunStatus.RUNNING, RunStatus.CANCELLING):
        for run in ratchet.service.runs(status=status):
            if not alive:
                yield Finding(
                    what="runs",
                    ok=False,
                    found=f"{run.id} is {run.status}, and its worker is dead",
                    next=f"ratchet retry {run.id}",
                )


def feature_views(settings: Settings) -> str:
    """The views of the feature store. Raises FeatureStoreError."""
    views = feature_store.connect(revealed(settings.feature_store)).views()
    return f"{len(views)} views ({settings.feature_store.format})"


def artifacts(settings: Settings) -> str:
    """The artifact store can be read. Raises RayJobError."""
    ray_jobs.ArtifactStore(settings.artifacts).list()
    return settings.artifacts


def models(settings: Settings) -> str:
    """Ledger and MLflow answer. Raises RegistryError."""
    with registry.connect(revealed(settings.registry)) as connected:
        known = connected.ledger_models()
        path = settings.registry.tracking_uri.removeprefix("sqlite:///")
        if path != settings.registry.tracking_uri and not Path(path).exists():
            return "MLflow's database is made by the first run"
        for model in known:
            broken = connected.verify(model)
            if broken is not None:
                raise registry.LedgerBroken(
                    f"The history of {model} is broken at epoch {broken.epoch}: {broken.reason}.",
                    hint=f"ratchet ledger {model} --verify",
                )
            connected.champion_seen(model)
        if not known:
            connected.knows("doctor")
    return f"{len(known)} models with a champion; MLflow answers"


def ray_resources(settings: Settings) -> str:
    """Ray answers, or can be started. Raises RayJobError."""
    client = ray_jobs.connect(revealed(settings.ray), settings.artifacts, Path(settings.home))
    try:
        found = client.resources()
    finally:
        client.close()
    return f"{settings.ray.mode}: {found.cpus:g} CPUs, {found.gpus:g} GPUs"


def ray_not_asked(settings: Settings) -> str:
    """An embedded Ray starts with the first run."""
    return f"{settings.ray.mode}, starts with the first run; try it now: ratchet doctor --ray"


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _texts(value)

"""The training loop: poll, check, extract, train, evaluate, then promote or halt.

Beside it, for the nights after a promotion, the watch over the new champion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import feature_store
import ray_jobs
import registry
from feature_store import CheckReport, ChecksConfig, Snapshot, Watermark, Watermarks
from flows.core.clock import SystemClock
from flows.core.context import current, noticed, produced
from flows.core.errors import Halt, Skip
from flows.core.flow import flow, task, when
from flows.core.retry import Backoff, Retry
from flows.settings import Settings
from ray_jobs import Challenger, Dataset, FeaturesConfig, RunInfo, TrainerConfig, UnfitData
from registry import GateConfig, LedgerEntry, OnHarm, StaleEpoch, Verdict, Watched, Watching
from registry.gate_config import check_mode

FLAKY = Retry(attempts=3, delay=2, backoff=Backoff.EXPONENTIAL, cap=60, jitter=0.5)
"""For what talks to storage and servers: three tries, a few seconds apart."""


@dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """conf/flow/retrain.yaml, typed."""

    model: str  # name of the registered model
    features: FeaturesConfig  # which data, which features, what is held out
    checks: ChecksConfig  # what the data must be like to be trained on
    trainer: TrainerConfig  # which estimator, with which parameters and resources
    gate: GateConfig  # what the challenger must prove
    again: bool = False  # decide anew, also when there is no new data

    def __post_init__(self) -> None:
        """Refuse a gate that makes no sense before anything is trained for it."""
        check_mode(self.gate)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What came of the watch over the champion."""

    watched: bool  # whether there was anything to watch
    live: str | None  # version that was made live again; None: none was
    reason: str  # in one or two sentences


@task(retry=FLAKY, timeout=timedelta(minutes=10))
def poll(features: FeaturesConfig, model: str, again: bool = False) -> Snapshot:
    """The view as it is now; skips the run, with the reason, when there is nothing new."""
    settings = Settings.of(current().config)
    seen = Watermarks(settings.feature_store).get(features.view, model)
    snapshot = feature_store.connect(settings.feature_store).snapshot(
        features.view,
        since=seen.version if seen and not again else None,
        exclude=seen.quarantine if seen else (),
    )
    if not snapshot.new_rows:
        raise Skip(_nothing_new(features.view, seen, again))
    return snapshot


@task(retry=FLAKY, timeout=timedelta(hours=1))
def check(
    snapshot: Snapshot, checks: ChecksConfig, features: FeaturesConfig, model: str
) -> CheckReport:
    """Whether the new data is fit to train on; halts the run, and quarantines it, if not.

    Labels of older rows that matured badly halt it as well: new rows are not to blame for them, and
    wait until the labels are mended.
    """
    settings = Settings.of(current().config)
    store = feature_store.connect(settings.feature_store)
    report = feature_store.run_checks(
        store,
        snapshot,
        checks,
        now=SystemClock().now(),
        label=features.label,
        label_delay=features.label_delay,
    )
    if not report.passed and not report.new_failures:
        hint = "mend these labels in the table, or loosen checks.nulls or checks.label_classes"
        raise Halt(report.reason, hint=hint)
    if not report.passed:
        seen = Watermarks(settings.feature_store).get(snapshot.view, model)
        undecided = range(seen.version + 1 if seen else 1, snapshot.version + 1)
        _seen(settings, snapshot, model, quarantine=tuple(undecided))
        raise Halt(report.reason)
    return report


@task(executor="ray", retry=FLAKY, timeout=timedelta(hours=12))
def extract(snapshot: Snapshot, features: FeaturesConfig) -> Dataset:
    """Training rows with their features, made by Ray from what is new."""
    settings = Settings.of(current().config)
    return ray_jobs.extract(
        snapshot,
        features,
        feature_store=settings.feature_store,
        artifacts_uri=settings.artifacts,
        allowed_modules=settings.allowed_modules,
    )


@task(retry=FLAKY, timeout=timedelta(minutes=10))
def watching(model: str, gate: GateConfig) -> Watching:
    """Whether the champion is new, and has to be watched; asks the ledger alone."""
    settings = Settings.of(current().config)
    with registry.connect(settings.registry) as models:
        return models.watches.watching(model, gate)


@task(executor="ray", retry=FLAKY, timeout=timedelta(hours=12))
def watch(
    dataset: Dataset, features: FeaturesConfig, gate: GateConfig, model: str
) -> Watched | None:
    """How the new champion does beside its predecessor, on rows that neither has seen."""
    settings = Settings.of(current().config)
    return ray_jobs.watch(
        dataset,
        features,
        gate,
        model,
        registry=settings.registry,
        feature_store=settings.feature_store,
        run=_run_info(),
        now=SystemClock().now(),
        allowed_modules=settings.allowed_modules,
    )


@task(retry=FLAKY, timeout=timedelta(hours=1), run_if="none_failed")
def settle(gate: GateConfig, known: Watching | None, seen: Watched | None) -> Settled:
    """Roll a champion back that is proven harmful, or tell people of it, or of a watch's end."""
    found = seen or (known.watched if known else None)
    if found is not None and found.broken_off:
        noticed(
            f"version {found.version} of {found.model} is not watched any more",
            reason=found.reason,
            then=f"ratchet champion {found.model}",
            key=f"{found.model}:{found.epoch}",
            kind="champion_unwatched",
        )
    if found is None or not found.harm:
        said = found.reason if found else known.reason if known else ""
        return Settled(watched=found is not None, live=None, reason=said)
    live = None
    if OnHarm(gate.watch.on_harm) is OnHarm.ALERT:
        done = "It stays champion (gate.watch.on_harm=alert)."
        then = f'ratchet rollback {found.model} --reason "worse than its predecessor"'
    else:
        try:
            live = _rolled_back(found)
            done, then = f"Version {live} is live again.", f"ratchet ledger {found.model}"
        except StaleEpoch as meanwhile:  # somebody else was first, and knows why
            return Settled(watched=True, live=None, reason=f"{found.reason} {meanwhile}")
    noticed(
        f"version {found.version} of {found.model} is worse than its predecessor",
        reason=f"{found.reason} {done}",
        then=then,
        key=f"{found.model}:{found.epoch}",
        kind="champion_harmful",
    )
    return Settled(watched=True, live=live, reason=f"{found.reason} {done}")


@task(executor="ray", resources="trainer", retry=FLAKY, timeout=timedelta(hours=48))
def train(
    dataset: Dataset, trainer: TrainerConfig, features: FeaturesConfig, model: str
) -> Challenger:
    """A challenger, trained by Ray on everything before the holdout, and registered."""
    settings = Settings.of(current().config)
    try:
        return ray_jobs.train(
            dataset,
            trainer,
            features,
            model=model,
            registry=settings.registry,
            run=_run_info(),
            now=SystemClock().now(),
            allowed_modules=settings.allowed_modules,
        )
    except UnfitData as unfit:
        _seen(settings, dataset, model)
        raise Halt(str(unfit)) from unfit


@task(executor="ray", retry=FLAKY, timeout=timedelta(hours=12))
def evaluate(
    challenger: Challenger, dataset: Dataset, features: FeaturesConfig, gate: GateConfig
) -> Verdict:
    """The gate's verdict on champion and challenger, scored on the same held-out rows."""
    settings = Settings.of(current().config)
    return ray_jobs.evaluate(
        challenger,
        dataset,
        gate,
        features,
        registry=settings.registry,
        feature_store=settings.feature_store,
        run=_run_info(),
        now=SystemClock().now(),
        allowed_modules=settings.allowed_modules,
    )


@task(retry=FLAKY, timeout=timedelta(hours=1))
def promote(verdict: Verdict, dataset: Dataset) -> LedgerEntry:
    """Make the challenger champion, if the champion still is the one it was compared with.

    If not, the run ends halted: nothing has failed, and the challenger has to be compared anew.
    """
    settings, flow_name = Settings.of(current().config), current().flow
    now = SystemClock().now()
    with registry.connect(settings.registry) as models:
        try:
            entry = models.promote(verdict, actor=f"flow {flow_name}", now=now)
        except StaleEpoch as meanwhile:
            reason = f"The champion changed meanwhile. {meanwhile}"
            models.tracking.end_run(verdict.mlflow_run_id, "halted", now=now, reason=reason)
            raise Halt(reason, hint=f"ratchet run {flow_name} again=true") from meanwhile
        models.tracking.end_run(verdict.mlflow_run_id, "succeeded", now=now)
    produced(f"model:{verdict.model}", entry.version, at=dataset.watermark)
    _seen(settings, dataset, verdict.model)
    return entry


@task(retry=FLAKY, timeout=timedelta(minutes=10))
def halt(verdict: Verdict, dataset: Dataset) -> None:
    """Keep the champion, and end the run halted with the verdict's reason.

    A verdict that waits for approval is told with the command that approves it.
    """
    settings = Settings.of(current().config)
    with registry.connect(settings.registry) as models:
        models.tracking.end_run(
            verdict.mlflow_run_id, "halted", now=SystemClock().now(), reason=verdict.reason
        )
    _seen(settings, dataset, verdict.model)
    raise Halt(verdict.reason, hint=verdict.next_step)


@flow(config="retrain")
def retrain(cfg: RetrainConfig) -> None:
    """Train on new data, and promote the model only when it is proven better."""
    snapshot = poll(cfg.features, cfg.model, cfg.again)
    report = check(snapshot, cfg.checks, cfg.features, cfg.model)
    dataset = extract(snapshot, cfg.features, after=report)
    known = watching(cfg.model, cfg.gate, after=dataset)
    seen = watch(dataset, cfg.features, cfg.gate, cfg.model)
    when(known.due).then(seen)
    settled = settle(cfg.gate, known, seen)
    challenger = train(dataset, cfg.trainer, cfg.features, cfg.model)
    verdict = evaluate(challenger, dataset, cfg.features, cfg.gate, after=settled)
    when(verdict.promote).then(promote(verdict, dataset))
    when(~verdict.promote).then(halt(verdict, dataset))


def _nothing_new(view: str, seen: Watermark | None, again: bool) -> str:
    """Why there is nothing to train on, and what would change that."""
    if again and seen and seen.quarantine:
        return f"no data in {view} outside of quarantine (ratchet features release {view})"
    since = f"since version {seen.version}" if seen else "in it"
    return f"no new data in {view}: nothing {since} (again=true trains anyway)"


def _seen(
    settings: Settings, data: Snapshot | Dataset, model: str, quarantine: tuple[int, ...] = ()
) -> None:
    """Remember that this model's loop has decided on the view up to the version of `data`."""
    view, version = data.view, data.version
    Watermarks(settings.feature_store).advance(view, model, version, quarantine=quarantine)
    produced(f"watermark:{view}/{model}", version, at=data.watermark)


def _rolled_back(found: Watched) -> str:
    """Make the champion before live again, once, however often the run is repeated."""
    settings, context = Settings.of(current().config), current()
    with registry.connect(settings.registry) as models:
        entry = models.rollback(
            found.model,
            found.previous,
            actor=f"flow {context.flow}",
            reason=found.reason,
            now=SystemClock().now(),
            expected_epoch=found.epoch,
            run_id=context.run_id,
        )
    produced(f"model:{found.model}", entry.version)
    return entry.version


def _run_info() -> RunInfo:
    context = current()
    return RunInfo(
        run_id=context.run_id,
        flow=context.flow,
        config_yaml=context.config_yaml,
        config_digest=context.config_digest,
    )

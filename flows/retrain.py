"""The training loop: poll, check, extract, train, evaluate, then promote or halt.

Beside it, for the nights after a promotion, the watch over the new champion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import feature_store
import ray_jobs
import registry
from feature_store import CheckReport, ChecksConfig, Snapshot, Watermark, Watermarks
from feature_store.checks.joined import beside_joins, of_join
from flows.core.clock import SystemClock
from flows.core.context import current, noticed, produced
from flows.core.errors import Halt, Skip
from flows.core.flow import flow, task, when
from flows.core.retry import Backoff, Retry
from flows.decided import advance, nothing_new, skip_if_decided
from flows.settings import Settings
from ray_jobs import Challenger, Dataset, FeaturesConfig, RunInfo, TrainerConfig, UnfitData
from registry import (
    GateConfig,
    LedgerEntry,
    OnHarm,
    PromotionRefused,
    StaleEpoch,
    Tie,
    UnknownModel,
    Verdict,
    Watched,
    Watching,
    check_model_name,
)
from registry.gate_config import check_composed

if TYPE_CHECKING:
    from feature_store import FeatureStore

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
        check_model_name(self.model)
        check_composed(self.gate)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What came of the watch over the champion."""

    watched: bool  # whether there was anything to watch
    live: str | None  # version that was made live again; None: none was
    reason: str  # in one or two sentences


@task(retry=FLAKY, timeout=timedelta(minutes=10))
def poll(
    features: FeaturesConfig, model: str, again: bool = False, gate: GateConfig | None = None
) -> tuple[Snapshot, ...]:
    """Every view of the flow as it is now: the one that is trained on, then one for each join.

    Skips the run, with the reason, when none of them has anything new; refuses before the training
    what would be refused after it.
    """
    settings = Settings.of(current().config)
    store = feature_store.connect(settings.feature_store)
    marks = Watermarks(settings.feature_store)
    wanted = [(features.view, None), *((join.view, join.version) for join in features.joins)]
    seen = {view: marks.get(view, model) for view, _ in wanted}
    pinned = {
        one: _pinned(store, *one, None if again else seen[one[0]], seen[one[0]])
        for one in dict.fromkeys(wanted)
    }
    if not any(snapshot.new_rows for snapshot in pinned.values()):
        raise Skip(nothing_new(seen, again))
    if gate is not None:
        ray_jobs.declare_metrics(gate, settings.allowed_modules)
    _ensure_ready(settings, features, model)
    return tuple(pinned[one] for one in wanted)


@task(retry=FLAKY, timeout=timedelta(hours=1))
def check(
    snapshots: tuple[Snapshot, ...], checks: ChecksConfig, features: FeaturesConfig, model: str
) -> tuple[CheckReport, ...]:
    """Whether each view's new data is fit to train on; halts the run, and quarantines it, if not.

    Labels of older rows that matured badly halt it as well: new rows are not to blame for them, and
    wait until the labels are mended.
    """
    settings = Settings.of(current().config)
    reports = _checked(settings, snapshots, checks, features)
    failed = [report for report in reports if not report.passed]
    if not failed:
        return reports
    marks, by = Watermarks(settings.feature_store), f"flow {current().flow}"
    for snapshot, report in zip(snapshots, reports, strict=True):
        if report.new_failures:
            now = SystemClock().now()
            marks.set_aside(snapshot, model, actor=by, reason=report.reason, now=now)
            advance(settings, snapshot, model)
    if reports[0].new_failures:  # the other views' new data waits for nothing
        for snapshot, report in zip(snapshots, reports, strict=True):
            if report.passed:
                advance(settings, snapshot, model)
    older = [report for report in failed if not report.new_failures]
    hint = "mend these labels in the table, or loosen checks.nulls or checks.label_classes"
    raise Halt(
        "; ".join(_failure(report, features) for report in failed),
        hint=hint if older else None,
        kind="bad_data",
    )


@task(executor="ray", retry=FLAKY, timeout=timedelta(hours=12))
def extract(snapshots: tuple[Snapshot, ...], features: FeaturesConfig) -> Dataset:
    """Training rows with their features, made by Ray from what is new."""
    settings = Settings.of(current().config)
    return ray_jobs.extract(
        snapshots[0],
        features,
        joined=snapshots[1:],
        feature_store=settings.feature_store,
        artifacts_uri=settings.artifacts,
        allowed_modules=settings.allowed_modules,
    )


@task(retry=FLAKY, timeout=timedelta(minutes=10))
def watching(model: str, gate: GateConfig) -> Watching:
    """Whether the champion is new, and has to be watched; asks the ledger alone."""
    settings = Settings.of(current().config)
    ray_jobs.declare_metrics(gate, settings.allowed_modules)
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
        except (PromotionRefused, UnknownModel) as refused:  # the predecessor is gone
            done = f"It stays champion. {refused}"
            then = refused.hint or f"ratchet ledger {found.model}"
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
    skip_if_decided(settings, dataset, model)
    try:
        challenger = ray_jobs.train(
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
        advance(settings, dataset, model)
        raise Halt(str(unfit), kind="bad_data") from unfit
    with registry.connect(settings.registry) as models:
        models.tie(model, _tie(settings, features))
    return challenger


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
    advance(settings, dataset, verdict.model)
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
    advance(settings, dataset, verdict.model)
    raise Halt(verdict.reason, hint=verdict.next_step, kind=_kind_of(verdict))


@flow(config="retrain", exclusive="model")
def retrain(cfg: RetrainConfig) -> None:
    """Train on new data, and promote the model only when it is proven better."""
    snapshots = poll(cfg.features, cfg.model, cfg.again, cfg.gate)
    reports = check(snapshots, cfg.checks, cfg.features, cfg.model)
    dataset = extract(snapshots, cfg.features, after=reports)
    known = watching(cfg.model, cfg.gate, after=dataset)
    seen = watch(dataset, cfg.features, cfg.gate, cfg.model)
    when(known.due).then(seen)
    settled = settle(cfg.gate, known, seen)
    challenger = train(dataset, cfg.trainer, cfg.features, cfg.model)
    verdict = evaluate(challenger, dataset, cfg.features, cfg.gate, after=settled)
    when(verdict.promote).then(promote(verdict, dataset))
    when(~verdict.promote).then(halt(verdict, dataset))


def _kind_of(verdict: Verdict) -> str:
    """The kind of its alert; what could not even be compared is no matter of proof."""
    if verdict.next_step is not None:
        return "awaits_approval"
    return "not_proven" if verdict.challenger_score is not None else "halted"


def _pinned(
    store: FeatureStore,
    view: str,
    version: int | None,
    since: Watermark | None,
    seen: Watermark | None,
) -> Snapshot:
    """A view at its newest version, or at the one that a join names: there nothing is new."""
    return store.snapshot(
        view,
        version=version,
        since=version if version is not None else since.version if since else None,
        exclude=seen.quarantine if seen else (),
    )


def _ensure_ready(settings: Settings, features: FeaturesConfig, model: str) -> None:
    """Refuse before the training what would be refused after it; complete what a crash left."""
    with registry.Reader(settings.registry) as seen:
        ready = seen.ready(model, _tie(settings, features))
    if not ready:
        with registry.connect(settings.registry) as models:
            models.reconcile((model,), now=SystemClock().now())


def _tie(settings: Settings, features: FeaturesConfig) -> Tie:
    """By what this project's model is known again."""
    store = settings.feature_store
    label = features.label or feature_store.connect(store).view(features.view).label
    return Tie(store=feature_store.identity(store), view=features.view, label=label)


def _checked(
    settings: Settings,
    snapshots: tuple[Snapshot, ...],
    checks: ChecksConfig,
    features: FeaturesConfig,
) -> tuple[CheckReport, ...]:
    """What the checks say of each view."""
    store, now = feature_store.connect(settings.feature_store), SystemClock().now()
    spine, *joined = snapshots
    names = [join.names(store.view(join.view)) for join in features.joins]
    own = beside_joins(checks, names, store.declared_columns(spine.view), new=spine.new_rows)
    report = feature_store.run_checks(
        store, spine, own, now=now, label=features.label, label_delay=features.label_delay
    )
    return report, *(
        feature_store.run_checks(store, snapshot, of_join(checks, its), now=now)
        for snapshot, its in zip(joined, names, strict=True)
    )


def _failure(report: CheckReport, features: FeaturesConfig) -> str:
    return f"view {report.view}: {report.reason}" if features.joins else report.reason


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

"""What a challenger must show, as configuration."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from registry.errors import GateError
from registry.methods.metrics import COVERAGE, Metric, find_metric, is_known
from registry.methods.predictions import Task
from registry.slice_columns import check_slices

# What to say of losses that no formula bounds.
BOUND_TO_SAY = {
    "log_loss": "gate.bound=7 (nats: a true class that was given 1 in 1,000 or less)",
    "mae": "gate.bound to the largest error that should still count, in the label's unit",
    "mse": "gate.bound to the largest squared error that should still count",
    "mape": "gate.bound=2 (200 % off)",
    "poisson_deviance": "gate.bound to the largest deviance of a row that should still count",
}


class GateMode(StrEnum):
    """How a challenger is proven to be better."""

    EVIDENCE = "evidence"
    """By evidence that accumulates: what is not proven tonight is scored again on later nights."""
    SINGLE_NIGHT = "single_night"
    """By one test on the night's holdout; for data without many nights, and for sweeps."""


class Dependence(StrEnum):
    """What is believed of rows of one day, where no block says it."""

    AUTO = "auto"
    """How much days differ is measured, and evidence counts for no more than that allows."""
    INDEPENDENT = "independent"
    """A row (or a cluster) tells nothing of another one of its day."""


class Baseline(StrEnum):
    """What a first model must be proven better than."""

    CONSTANT = "constant"
    """The most frequent class, the classes' frequencies, the mean or the median."""
    LAST_VALUE = "last_value"
    """The label of the row before (of the same group, where the features have one)."""
    SIMPLE = "simple"
    """The model that `simple` names, trained on the same rows."""
    NONE = "none"
    """Nothing: its floors alone decide."""


class NewClasses(StrEnum):
    """What becomes of rows of a class that the champion never saw."""

    HOLD = "hold"
    """Nothing is decided on a night that has such rows."""
    JUDGE = "judge"
    """They count: the champion, who gives their class a probability of 0, is wrong on them."""


class OnHarm(StrEnum):
    """What happens when the watch proves a new champion worse than the one before."""

    ROLLBACK = "rollback"
    """The champion before is live again, by itself."""
    ALERT = "alert"
    """People are told; the champion stays."""


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """The watch over a new champion: its predecessor is scored beside it on fresh rows."""

    nights: int = 7
    """Nights with fresh rows that a new champion is watched for; 0: it is not."""
    harm: float = 0.0
    """It is harmful when it is proven worse than its predecessor by more than this."""
    alpha: float = 0.01
    """A champion that is no worse is found harmful with a probability of at most this."""
    on_harm: OnHarm = OnHarm.ROLLBACK
    """What then happens."""


@dataclass(frozen=True, kw_only=True)
class ApprovalConfig:
    """Whether a person has to agree before a proven challenger becomes champion."""

    required: bool = False
    """The verdict waits for `ratchet approve`."""
    expires_after: timedelta = timedelta(days=3)
    """An answer that comes later is refused."""


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """What a challenger may cost to serve; none: not measured."""

    latency_ms: float | None = None
    """Milliseconds of one core to predict 1,000 rows, at most."""
    latency_ratio: float | None = None
    """Times the champion's latency, at most; both measured side by side."""
    size_mb: float | None = None
    """Megabytes of its files, at most."""
    memory_mb: float | None = None
    """Megabytes of resident memory that loading it and predicting add, at most."""


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What a challenger must show."""

    metric: str = "accuracy"
    """The metric of the comparison; a function of your own: `my_team.metrics:profit`."""
    min_effect: float = 0.0
    """Minimum useful effect: the improvement must surely exceed it, in the metric's unit."""
    confidence: float = 0.95
    """Confidence of the intervals, two-sided."""
    resamples: int = 2000
    """Bootstrap resamples of an interval."""
    seed: int = 0
    """Seed of the bootstrap: the same rows give the same verdict."""
    margin: float = 0.0
    """Non-inferiority: promoted when proven not worse by more than this; 0: must be better."""
    guards: dict[str, float] = field(default_factory=dict)
    """Metric to how much worse the challenger may be in it, in that metric's unit."""
    max_flips: float | None = None
    """Share of rows whose predicted class may change, at most; none: any."""
    cost: CostConfig = field(default_factory=CostConfig)
    """What it may cost to serve."""
    approval: ApprovalConfig = field(default_factory=ApprovalConfig)
    """Whether a person has to agree."""
    watch: WatchConfig = field(default_factory=WatchConfig)
    """The watch over a new champion."""
    floors: dict[str, float] = field(default_factory=dict)
    """Metric to bound of the challenger's own score: a floor, for a loss a ceiling."""
    slices: tuple[str, ...] = ()
    """Columns whose every value is a slice that must not get worse; `price/4`: four quantile bins
    of a number; `region*device`: a cross."""
    slice_max_drop: float = 0.02
    """How much worse the challenger may be on a slice, in the metric's unit."""
    slice_alpha: float = 0.05
    """Probability, at most, that a challenger passes which is worse than that on a slice."""
    slice_min_rows: int = 50
    """A slice with fewer rows is not judged, and the verdict says so."""
    min_rows: int = 100
    """With fewer rows nothing is decided."""
    new_classes: NewClasses = NewClasses.HOLD
    """What becomes of rows of a class that the champion never saw."""
    cluster: str | None = None
    """Column of the unit whose rows depend on each other (customer, day); none: `features.group`,
    and without that no row depends on another."""

    mode: GateMode = GateMode.EVIDENCE
    """How a challenger is proven to be better."""
    baseline: Baseline = Baseline.CONSTANT
    """What a first model must be proven better than, besides keeping its floors."""
    simple: dict[str, Any] = field(default_factory=dict)
    """The estimator of `baseline: simple`, as a trainer's: `_target_` and its parameters."""
    alpha: float = 0.05
    """Promotions of a challenger that is no better: so many are expected in a year, at most."""
    first_alpha: float = 0.05
    """A first model that is no better than its baseline passes with a probability of at most this;
    it replaces no champion, and takes nothing of the year's alpha."""
    planned: int = 365
    """Challengers that the year's alpha is shared between."""
    keep: int = 5
    """Evidence: unproven challengers that are scored again besides tonight's."""
    expire_after: int = 30
    """Evidence: nights after which an unproven challenger is given up."""
    effect: float = 0.01
    """Evidence: the improvement that should be proven fastest, in the metric's unit."""
    useful_effect: float = 0.005
    """Evidence: a challenger that is hardly better by this is given up."""
    bound: float | None = None
    """A row's loss counts as at most this; none: 1 for accuracy, 2 for Brier."""
    block: timedelta | None = None
    """Rows of one such span of time depend on each other: a block is one observation."""
    dependence: Dependence = Dependence.AUTO
    """Evidence: what is believed of rows of one day, where there is no block."""


def check_config(config: GateConfig) -> Metric:
    """The metric of the comparison; GateError when the configuration makes no sense."""
    metric = find_metric(config.metric)
    for name in config.floors:
        if find_metric(name).task is not metric.task:
            raise GateError(
                f"The floor {name!r} is a metric of {find_metric(name).task}, "
                f"but the gate compares {metric.name}, a metric of {metric.task}."
            )
    if not 0.5 <= config.confidence < 1:
        raise GateError(f"The gate's confidence is {config.confidence}; it must be in [0.5, 1).")
    if not 0 < config.alpha < 1:
        raise GateError(f"The gate's alpha is {config.alpha}; it must be between 0 and 1.")
    if not 0 < config.first_alpha < 1:
        raise GateError(
            f"The gate's first_alpha is {config.first_alpha}; it must be between 0 and 1."
        )
    lowest: dict[str, float] = {
        "resamples": 100,
        "min_rows": 1,
        "slice_min_rows": 1,
        "min_effect": 0,
        "slice_max_drop": 0,
        "margin": 0,
        "planned": 1,
        "keep": 0,
        "expire_after": 1,
    }
    for name, bound in lowest.items():
        if not getattr(config, name) >= bound:
            raise GateError(f"The gate's {name} is {getattr(config, name)}; at least {bound}.")
    if config.approval.expires_after <= timedelta(0):
        raise GateError(
            f"The gate's approval.expires_after is {config.approval.expires_after}; nobody could "
            "answer in time.",
            hint="set gate.approval.expires_after, such as 3d",
        )
    if config.block is not None and config.block <= timedelta(0):
        raise GateError(f"The gate's block is {config.block}; it must be longer than nothing.")
    if config.bound is not None and not config.bound > 0:
        raise GateError(f"The gate's bound is {config.bound:g}; it must be positive.")
    if config.cluster is not None and config.block is not None:
        raise GateError(
            "The gate has both a cluster and a block: rows depend on each other in one way.",
            hint="keep gate.cluster (units such as customers) or gate.block (spans of time)",
        )
    _check_no_harm(config, metric)
    _check_costs(config, metric)
    _check_watch(config.watch)
    return metric


def _check_no_harm(config: GateConfig, metric: Metric) -> None:
    """What must not get worse: the metric itself, guards, slices."""
    if config.margin > 0 and config.min_effect > 0:
        raise GateError(
            f"The gate has a margin of {config.margin:g} and a min_effect of "
            f"{config.min_effect:g}: it cannot ask for not worse and for better at once.",
            hint="keep gate.min_effect (better), or gate.margin (not worse; for fresh models)",
        )
    if not 0 < config.slice_alpha <= 0.5:
        raise GateError(f"The gate's slice_alpha is {config.slice_alpha}; it must be in (0, 0.5].")
    check_slices(config.slices)
    if config.slices and config.slice_max_drop == 0:
        raise GateError(
            "The gate's slice_max_drop is 0: no rows prove that a slice is not worse at all.",
            hint="set gate.slice_max_drop to how much worse a slice may get, such as 0.02",
        )
    for name, allowed in config.guards.items():
        guard = find_metric(name)
        if guard.task is not metric.task:
            raise GateError(
                f"The guard {name!r} is a metric of {guard.task}, "
                f"but the gate compares {metric.name}, a metric of {metric.task}."
            )
        if name == "ece" or name.startswith(COVERAGE):
            rows = "brier (or log_loss with gate.bound)"
            instead = rows if name == "ece" else f"pinball_{name.removeprefix(COVERAGE)}"
            raise GateError(
                f"The guard {name!r} proves nothing: on a night's rows a well calibrated model "
                "looks worse than it is, by more than a badly calibrated one, so harm does not "
                "show.",
                hint=f"guard {instead}, row by row; a ceiling on {name} is "
                f"sound: gate.floors={{{name}: {max(allowed, 0.01):g}}}",
            )
        if not allowed > 0:
            raise GateError(
                f"The guard {name!r} allows {allowed:g}: no rows prove that it is no worse at all.",
                hint=f"say how much worse it may get: gate.guards={{{name}: 0.01}}",
            )


def _check_costs(config: GateConfig, metric: Metric) -> None:
    """What a new model may change and cost besides its scores."""
    flips = config.max_flips
    if flips is not None and metric.task is not Task.CLASSIFICATION:
        raise GateError(
            "gate.max_flips counts changed classes, and numbers are predicted here.",
            hint="leave it out; gate.guards={mape: 0.01} bounds how much worse a metric may get",
        )
    if flips is not None and not 0 < flips < 1:
        raise GateError(f"The gate's max_flips is {flips:g}; it is a share such as 0.05.")
    for name, bound in vars(config.cost).items():
        if bound is not None and not bound > 0:
            raise GateError(f"The gate's cost.{name} is {bound:g}; it must be positive.")
    baseline = Baseline(config.baseline)
    if (baseline is Baseline.SIMPLE) != bool(config.simple):
        raise GateError(
            "The gate's baseline is simple, and gate.simple names no model."
            if baseline is Baseline.SIMPLE
            else f"gate.simple names a model, but the gate's baseline is {baseline}.",
            hint="gate.baseline=simple and gate.simple="
            "{_target_: sklearn.linear_model.LogisticRegression} belong together",
        )
    if config.simple and not isinstance(config.simple.get("_target_"), str):
        raise GateError(
            "gate.simple has no _target_, the dotted path of an estimator.",
            hint="gate.simple={_target_: sklearn.linear_model.LogisticRegression, max_iter: 2000}",
        )


def _check_watch(watch: WatchConfig) -> None:
    """The watch over a new champion."""
    if watch.nights < 0:
        raise GateError(
            f"The gate's watch.nights is {watch.nights}; at least 0, which watches nothing."
        )
    if not watch.harm >= 0:
        raise GateError(f"The gate's watch.harm is {watch.harm:g}; at least 0.")
    if not 0 < watch.alpha < 1:
        raise GateError(f"The gate's watch.alpha is {watch.alpha:g}; it must be between 0 and 1.")


def null_of(config: GateConfig) -> float:
    """What the difference must surely exceed; negative: non-inferiority."""
    return config.min_effect - config.margin


def bound_of(config: GateConfig) -> float:
    """What a row's loss counts as at most; GateError when nobody has said."""
    bound = config.bound or find_metric(config.metric).bound
    if bound is None:
        say = BOUND_TO_SAY.get(config.metric, BOUND_TO_SAY["mae"])
        raise GateError(
            f"Nothing is proven of losses that may be of any size, and a row's {config.metric} has "
            "no bound.",
            hint=f"set {say}: a larger loss counts as that; or set gate.block",
        )
    return bound


def check_composed(config: GateConfig) -> None:
    """`check_mode`, before anything is imported: a user's own metrics are checked by the run.

    It does so before the training.
    """
    if all(map(is_known, (config.metric, *config.guards, *config.floors))):
        check_mode(config)


def check_mode(config: GateConfig) -> Metric:
    """`check_config`, and what its mode needs besides."""
    metric = check_config(config)
    if config.mode is GateMode.EVIDENCE:
        _check_evidence(config, metric)
    if metric.row_wise and config.block is None:
        _check_bound(config)
    return metric


def _check_evidence(config: GateConfig, metric: Metric) -> None:
    if not 0 < config.useful_effect <= config.effect:
        raise GateError(
            f"The gate's useful_effect is {config.useful_effect:g} and its effect "
            f"{config.effect:g}: the first must be positive and at most the second."
        )
    if config.block is None and not metric.row_wise:
        raise GateError(
            f"{metric.name} is a metric of the whole set: no row alone is evidence.",
            hint="set gate.block (a span such as P1D is then one observation), or "
            "gate=single_night, or compare a row-wise metric",
        )


def _check_bound(config: GateConfig) -> None:
    bound = bound_of(config)
    if not config.effect + config.min_effect < bound and config.mode is GateMode.EVIDENCE:
        raise GateError(f"The gate's effect is {config.effect:g}, beyond what a row can gain.")
    for name, allowed in (("margin", config.margin), ("slice_max_drop", config.slice_max_drop)):
        if not allowed < bound and (name == "margin" or config.slices):
            raise GateError(
                f"The gate's {name} is {allowed:g}, and a row's loss counts as at most {bound:g}."
            )

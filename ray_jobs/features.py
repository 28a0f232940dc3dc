"""What a model is trained on, as configuration: view, feature functions, joins, label, holdout."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from feature_store import FeatureView


class Engine(StrEnum):
    """What reads, and writes, the Parquet inside a shard."""

    POLARS = "polars"
    """The fastest here; reads and writes with every core that it is given."""

    ARROW = "arrow"
    """For column types that polars does not keep (fixed-size binaries, maps, unions)."""


@dataclass(frozen=True, kw_only=True)
class HoldoutConfig:
    """The newest rows with mature labels: kept from training, and used to compare models."""

    window: timedelta | None = None
    """Length of the holdout in event time; None: `fraction` decides."""

    fraction: float = 0.2
    """Share of the mature rows when `window` is None; between 0 and 1."""

    min_rows: int = 100
    """Fewer held-out rows than this cannot judge a model: the data is unfit."""

    gap: timedelta | None = None
    """Between the newest training row and the oldest held-out one: as far as a label looks ahead;
    None: `label_delay`."""

    def __post_init__(self) -> None:
        if self.gap is not None and self.gap < timedelta(0):
            raise ValueError(f"gap is {self.gap}, and cannot be negative")
        if self.window is None and not 0 < self.fraction < 1:
            raise ValueError(f"fraction is {self.fraction}, and must be between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class JoinConfig:
    """Columns of another view, joined as they were known at each row's event time."""

    view: str
    """Name of the other view."""

    columns: tuple[str, ...] = ()
    """Its columns to add; empty: all its features."""

    ttl: timedelta | None = None
    """A value older than this is not used (null instead); None: any age."""

    prefix: str = ""
    """Put before the names of the added columns."""

    version: int | None = None
    """Pinned version of the other view; None: its newest when the run looks for new data."""

    def names(self, view: FeatureView) -> dict[str, str]:
        """What the join uses of the other view: name in the training set -> the view's own."""
        added = {f"{self.prefix}{column}": column for column in self.columns or view.features}
        return {name: name for name in (*view.entities, view.event_time)} | added


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """The features of a model: from which view, through which functions, with which label."""

    view: str
    """The feature view to train on."""

    functions: tuple[str, ...] = field(default=(), metadata={"names": "code"})
    """Dotted paths "package.module:function"; each takes and returns a pyarrow.Table.

    They are called in order, on one shard of rows at a time, after the joins. They may add,
    change and drop columns, and drop rows; not add or duplicate rows."""

    columns: tuple[str, ...] = ()
    """Model inputs; empty: the view's features, the joined ones, and what functions added."""

    joins: tuple[JoinConfig, ...] = ()
    """Point-in-time joins with other views."""

    label: str | None = None
    """Column to predict; None: the view's label."""

    label_delay: timedelta = timedelta(0)
    """How long after the event the label is final; younger rows are left out of training."""

    group: str | None = None
    """Column whose groups (a customer, a device) never straddle the split; the gate counts each as
    one observation, unless `gate.cluster` or `gate.block` say otherwise."""

    slices: tuple[str, ...] = ()
    """Columns kept beside the rows for the gate's slices."""

    weight: str | None = None
    """Column that says how much each row counts, finite and at least 0; never a feature."""

    holdout: HoldoutConfig = field(default_factory=HoldoutConfig)
    """Which rows judge the models."""

    shards: int | None = None
    """At least this many shards, where row groups allow; None: by size."""

    engine: Engine = Engine.POLARS
    """What reads and writes Parquet inside a shard."""

    def __post_init__(self) -> None:
        if self.label_delay < timedelta(0):
            raise ValueError(f"label_delay is {self.label_delay}, and cannot be negative")

    @property
    def gap(self) -> timedelta:
        """Between the rows that train and those that judge; by default the label's delay."""
        return self.label_delay if self.holdout.gap is None else self.holdout.gap

"""The definition of a model's features: everything that its inputs are computed from.

A dataset is extracted with one, and a model carries the one of its dataset, so that a champion is
scored with the features it was trained with, whatever the team has changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from feature_store import FeatureStore, FeatureView
from ray_jobs.dotted import nearest
from ray_jobs.feature_code import FeatureCode, pack
from ray_jobs.features import Engine, FeaturesConfig, JoinConfig
from ray_jobs.training_errors import FeatureError

FILE = "features.json"
"""Name of the definition's file among those packed with a model."""

ROW = "ratchet_row"
"""Column with the number of each row in its source file: what identifies a row."""


@dataclass(frozen=True, kw_only=True)
class JoinDefinition:
    """One point-in-time join, with what the other view said of itself."""

    view: str
    entities: tuple[str, ...]
    event_time: str
    columns: tuple[str, ...]
    ttl_s: float | None
    prefix: str

    @property
    def ttl(self) -> timedelta | None:
        """Greatest age of a joined value."""
        return None if self.ttl_s is None else timedelta(seconds=self.ttl_s)

    @property
    def added(self) -> tuple[str, ...]:
        """Names of the joined columns."""
        return tuple(f"{self.prefix}{column}" for column in self.columns)


@dataclass(frozen=True, kw_only=True)
class FeatureDefinition:
    """View, joins, functions with their source, and which columns go where."""

    view: str
    entities: tuple[str, ...]
    event_time: str
    features: tuple[str, ...]
    label: str
    columns: tuple[str, ...]
    """Model inputs; empty: features, joined columns and what functions added."""
    joins: tuple[JoinDefinition, ...]
    group: str | None
    slices: tuple[str, ...]
    engine: str
    code: FeatureCode
    weight: str | None = None

    @cached_property
    def digest(self) -> str:
        """Sha256 over the definition and the source of its functions (hex)."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def to_text(self) -> str:
        """The definition as JSON."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns kept beside the model inputs: event time, label, group, weight, slices."""
        beside = (name for name in (self.group, self.weight) if name is not None)
        return tuple(dict.fromkeys((self.event_time, self.label, *beside, *self.slices)))

    def read_columns(self, available: Sequence[str]) -> list[str]:
        """Columns to read from the view; `available` are those that it has at the snapshot."""
        joined, there = {name for join in self.joins for name in join.added}, set(available)
        keys = [entity for join in self.joins for entity in join.entities]
        wanted = [*self.kept, *keys]
        if self.code.functions or not self.columns:
            wanted += [*self.entities, *self.features]
        wanted += [c for c in self.columns if c not in joined]
        for column in (self.event_time, *keys):
            if column not in there:
                raise FeatureError(
                    f"view {self.view} has no column {column!r}{nearest(column, available)}",
                    hint="check the view's columns, and the entities of the joined views",
                )
        return [c for c in dict.fromkeys(wanted) if c in there]


def define(
    config: FeaturesConfig, store: FeatureStore, allowed: Sequence[str]
) -> FeatureDefinition:
    """The definition that `config` means today. Raises FeatureError, UnknownName, UnknownView."""
    view = store.view(config.view)
    label = config.label or view.label
    if label is None:
        raise FeatureError(
            f"view {view.name} declares no label, and features.label names none",
            hint="set features.label to the column to predict",
        )
    if config.weight is not None and config.weight in (*config.columns, label):
        raise FeatureError(
            f"features.weight names {config.weight!r}, which is an input or the label, too",
            hint="leave it out of features.columns, or weigh rows by another column",
        )
    return FeatureDefinition(
        view=view.name,
        entities=view.entities,
        event_time=view.event_time,
        features=view.features,
        label=label,
        columns=config.columns,
        joins=tuple(_join(join, store.view(join.view)) for join in config.joins),
        group=config.group,
        slices=config.slices,
        weight=config.weight,
        engine=Engine(config.engine).value,
        code=pack(config.functions, allowed),
    )


def from_text(text: str) -> FeatureDefinition:
    """Read a definition back. Raises FeatureError when it is not one."""
    try:
        data: dict[str, Any] = json.loads(text)
        code = data.pop("code")
        joins = [_tuples(join) for join in data.pop("joins")]
        return FeatureDefinition(
            **_tuples(data),
            joins=tuple(JoinDefinition(**join) for join in joins),
            code=FeatureCode(functions=tuple(code["functions"]), modules=code["modules"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FeatureError(f"a feature definition cannot be read: {error}") from error


def _join(config: JoinConfig, view: FeatureView) -> JoinDefinition:
    return JoinDefinition(
        view=view.name,
        entities=view.entities,
        event_time=view.event_time,
        columns=config.columns or view.features,
        ttl_s=None if config.ttl is None else config.ttl.total_seconds(),
        prefix=config.prefix,
    )


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}

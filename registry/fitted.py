"""A fitted model and what must be stored with it so that it can be used without its trainer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from registry.inputs import Column

# What a class of a model is called where it is stored as JSON.
ClassLabel = str | int | float | bool


class Flavor(StrEnum):
    """How a model is stored, and which library runs it."""

    SKLEARN = "sklearn"
    """A scikit-learn estimator or pipeline, as a skops file, with the source of the user's own
    classes: loading it runs no other code."""
    XGBOOST = "xgboost"
    """A Booster, or an XGBClassifier or XGBRegressor, in XGBoost's own format."""
    TORCH = "torch"
    """A `torch.nn.Module` exported as a graph (pt2): loading needs neither its class nor pickle.

    It maps float32 (rows, features) to one number a row (regression), or to logits: one a class,
    or a single one for the second of two classes.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedModel:
    """What a trainer hands over."""

    flavor: Flavor
    estimator: Any
    features: tuple[str, ...]
    """The columns that it was trained on, in order."""
    example: Any
    """A few rows of the inputs, as a `pyarrow.Table` or a numpy array (rows, features)."""
    columns: tuple[Column, ...] | None = None
    """What each of them becomes for the estimator; none: as the rows have them."""
    classes: tuple[ClassLabel, ...] | None = None
    """The label that each output stands for; none: the estimator's own `classes_`, or numbers."""
    extras: Mapping[str, str] = field(default_factory=dict)
    """Text files kept with the model: name to content (the features' definition, sources)."""
    modules: tuple[str, ...] = ()
    """The user's own modules whose classes the estimator may contain."""
    requirements: tuple[str, ...] = ()
    """Packages needed besides the flavour's own (`mylib==1.2`)."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is written beside every model, as `ratchet.json`: how to feed it, how to read it."""

    flavor: Flavor
    features: tuple[str, ...]
    classes: tuple[ClassLabel, ...] | None
    modules: tuple[str, ...]
    versions: dict[str, str]
    """The libraries that wrote it."""
    columns: tuple[Column, ...] | None = None
    """Types and categories of the training rows' columns; none: the model is older than that."""

    def to_json(self) -> str:
        """The card as text."""
        columns = None if self.columns is None else [column.to_json() for column in self.columns]
        return json.dumps({**vars(self), "columns": columns}, indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """The card from its text."""
        values = json.loads(text)
        return cls(
            flavor=Flavor(values["flavor"]),
            features=tuple(values["features"]),
            classes=None if values["classes"] is None else tuple(values["classes"]),
            modules=tuple(values["modules"]),
            columns=_columns(values.get("columns")),
            versions=dict(values["versions"]),
        )


def class_labels(fitted: FittedModel) -> tuple[ClassLabel, ...] | None:
    """The classes of a classifier as plain values; None for a regression."""
    labels = fitted.classes
    if labels is None:
        labels = getattr(fitted.estimator, "classes_", None)
    if labels is None or not len(labels):  # CatBoost's regressors have none
        return None
    return tuple(label.item() if hasattr(label, "item") else label for label in labels)


def _columns(stored: list[dict[str, Any]] | None) -> tuple[Column, ...] | None:
    return None if stored is None else tuple(Column.from_json(column) for column in stored)

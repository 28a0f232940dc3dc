"""What a view is, and how it is written down beside its table."""

import re
from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

from feature_store.errors import InvalidView, nearest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class FeatureView:
    """A table of features: whom a row is about, when it was true, and what it says."""

    name: str
    """Letters, digits, `_` and `-`; also the name of the table's folder."""
    entities: tuple[str, ...]
    """Columns that say whom or what a row is about."""
    event_time: str
    """Timestamp column: the moment at which the row became true."""
    features: tuple[str, ...]
    """Columns that models may learn from."""
    label: str | None = None
    """Column to predict, if the view carries it."""

    time_zone: str | None = None
    """Of appended times that have none, such as `Asia/Kolkata`; None: they are taken for UTC."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that say which row is which: entities and event time."""
        return (*self.entities, self.event_time)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the view names: entities, event time, features, label."""
        label = () if self.label is None else (self.label,)
        return (*self.entities, self.event_time, *self.features, *label)


@dataclass(frozen=True, kw_only=True)
class StoredView:
    """A view and the schema that was recorded when it was declared."""

    view: FeatureView
    """The declaration."""
    columns: dict[str, str]
    """Column name -> Arrow type as text; empty until the first append of a view declared
    without a schema."""


def validate(view: FeatureView) -> None:
    """Refuse a view that contradicts itself (`InvalidView`)."""
    if not _NAME.fullmatch(view.name):
        raise InvalidView(
            f"view name {view.name!r} may hold letters, digits, '_' and '-' only, 200 at most",
            hint="rename the view",
        )
    if not view.entities:
        raise InvalidView(
            f"view {view.name}: no entity column", hint="name at least one column in `entities`"
        )
    if view.time_zone is not None and view.time_zone not in available_timezones():
        raise InvalidView(
            f"view {view.name}: there is no time zone "
            f"{view.time_zone!r}{nearest(view.time_zone, available_timezones())}",
            hint="name one such as Europe/Berlin",
        )
    seen: dict[str, str] = {}
    for column in view.columns:
        twin = seen.get(column.lower())
        if twin == column:
            raise InvalidView(
                f"view {view.name}: column {column} is named twice",
                hint="a column is an entity, the event time, a feature or the label",
            )
        if twin is not None:
            raise InvalidView(
                f"view {view.name}: columns {twin} and {column} differ by case only",
                hint="rename one of them: Delta and SQL cannot tell them apart",
            )
        seen[column.lower()] = column


def to_document(stored: StoredView) -> dict[str, Any]:
    """Turn a stored view into the JSON that stands beside its table."""
    view = stored.view
    return {
        "name": view.name,
        "entities": list(view.entities),
        "event_time": view.event_time,
        "features": list(view.features),
        "label": view.label,
        "columns": stored.columns,
        "time_zone": view.time_zone,
    }


def from_document(document: dict[str, Any]) -> StoredView:
    """Read a view back; `InvalidView` when the file was edited into something else."""
    try:
        view = FeatureView(
            name=document["name"],
            entities=tuple(document["entities"]),
            event_time=document["event_time"],
            features=tuple(document["features"]),
            label=document["label"],
            time_zone=document.get("time_zone"),
        )
        return StoredView(view=view, columns=dict(document["columns"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidView(
            f"a view file cannot be understood: {type(error).__name__} {error}",
            hint="restore the .view.json file beside the table, or declare the view again",
        ) from error

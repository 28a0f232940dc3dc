"""Which checks stand before training: each one is a line of config."""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


class ExtraColumns(StrEnum):
    """What to do about columns that the view did not have when it was declared."""

    FORBID = "forbid"
    """They fail the schema check."""
    ALLOW = "allow"
    """They are let through (and stay unused)."""


class Scope(StrEnum):
    """Which rows the checks of values look at."""

    NEW = "new"
    """The rows that are new in the snapshot; of labels, also those that matured since."""
    ALL = "all"
    """Every row of the snapshot."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Closed bounds; a missing one is open."""

    min: float | None = None
    """Smallest value allowed."""
    max: float | None = None
    """Largest value allowed."""

    def __post_init__(self) -> None:
        """Refuse a bound that nothing compares with, and a range that no value lies in."""
        if any(bound is not None and math.isnan(bound) for bound in (self.min, self.max)):
            raise ValueError("min and max must be numbers, not NaN")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min is {self.min:g} and max is {self.max:g}: no value lies between")


@dataclass(frozen=True, kw_only=True)
class ChecksConfig:
    """What the data of a snapshot must satisfy before anything is trained on it."""

    scope: Scope = Scope.NEW
    """Rows that nulls, infinite, ranges, allowed, duplicates and label_classes look at."""
    schema: bool = True
    """Compare column names and types with those recorded for the view."""
    extra_columns: ExtraColumns = ExtraColumns.FORBID
    """With `schema`: whether columns may have been added since."""
    nulls: dict[str, float] = field(default_factory=lambda: {"*": 0.0})
    """Column -> largest share of nulls (0 to 1; NaN counts as null, and so does a list that holds
    one); "*": every other column of the view; an empty mapping turns the check off."""
    infinite: dict[str, float] = field(default_factory=lambda: {"*": 0.0})
    """Column -> largest share of infinite numbers (0 to 1), which hardly any estimator takes; "*":
    every other column of floats; an empty mapping turns the check off."""
    ranges: dict[str, Range] = field(default_factory=dict)
    """Numeric column -> closed range; nulls and NaN are left to `nulls`, and integers are compared
    with every digit."""
    allowed: dict[str, tuple[str | int | bool, ...]] = field(default_factory=dict)
    """Column -> the values that it may hold, of its own type; nulls are left to `nulls`."""
    duplicates: float | None = 0.0
    """Largest share of rows (0 to 1) that repeat the entities and event time of another row, or of
    one that came before; None: not checked."""
    min_new_rows: int = 1
    """Fewest new rows worth a training; 0: not checked."""
    volume_factor: float | None = None
    """New rows per version may differ from the median of earlier versions by this factor at
    most, either way; needs three earlier versions; None: not checked."""
    max_age: timedelta | None = None
    """Largest age of the newest event time up to now; None: not checked."""
    future: float | None = 0.05
    """Largest share of rows (0 to 1) with an event time later than now, or one that cannot be;
    fewer are told of, and not used; None: not looked at."""
    label_classes: int = 0
    """Fewest different labels (2 for a classifier); 0: not checked."""

    def __post_init__(self) -> None:
        """Refuse shares that every row, or none, would pass, and choices of two kinds."""
        self._check_shares()
        self._check_choices()

    def _check_shares(self) -> None:
        shares = {
            **{f"nulls.{column}": share for column, share in self.nulls.items()},
            **{f"infinite.{column}": share for column, share in self.infinite.items()},
            "duplicates": self.duplicates,
            "future": self.future,
        }
        for name, share in shares.items():
            if share is not None and not 0 <= share <= 1:
                raise ValueError(
                    f"{name} is {share:g}, and a share lies between 0 and 1 (5 %: 0.05)"
                )
        if self.volume_factor is not None and not self.volume_factor >= 1:
            raise ValueError(f"volume_factor is {self.volume_factor:g}, and must be at least 1")

    def _check_choices(self) -> None:
        """No column holds texts and numbers, so YAML read one of them otherwise."""
        for column, choices in self.allowed.items():
            kinds = {type(choice) for choice in choices}
            if str in kinds and len(kinds) > 1:
                odd = next(choice for choice in choices if not isinstance(choice, str))
                raise ValueError(
                    f"allowed.{column} holds texts and {odd!r}: put texts in quotes, for YAML "
                    "reads NO and off as false, 00123 as 83 and 18:30 as 1110"
                )

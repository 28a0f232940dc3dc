"""Which slices a gate judges: what is kept of them from night to night."""

from dataclasses import dataclass, field, replace

OTHERS = "other values"


@dataclass(frozen=True, kw_only=True)
class SliceColumn:
    """One entry of the config's `slices`, cut."""

    spec: str
    """As the config names it."""
    cuts: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Column to where its numbers are cut, ascending; a bin includes its lower end. Empty: no night
    has had enough of them yet."""
    aged: bool = False
    """They were cut under an earlier champion, and are anew by the first rows that are enough."""
    own: dict[str, int] = field(default_factory=dict)
    """Value that is judged alone, to nights in a row with too few rows of it."""
    gone: dict[str, int] = field(default_factory=dict)
    """The same of a value that is not any more: there were too many such nights."""
    others: int | None = None
    """The same of the other values together; none: they are too few to be judged."""

    @property
    def names(self) -> list[str]:
        """The slices that are judged."""
        every = sorted(self.own) if self.others is None else [*sorted(self.own), OTHERS]
        return [f"{self.spec}={value}" for value in every]


@dataclass(frozen=True, kw_only=True)
class SlicePlan:
    """The slices of a gate, cut."""

    columns: tuple[SliceColumn, ...] = ()
    least: int = 1
    """Rows of one night that make a slice, by its last night."""
    clusters: int = 0
    """Clusters of one night that it needs as well; 0: rows are independent."""

    @property
    def specs(self) -> tuple[str, ...]:
        """What the config asked for."""
        return tuple(column.spec for column in self.columns)

    @property
    def names(self) -> list[str]:
        """The slices that are judged."""
        return [name for column in self.columns for name in column.names]

    def anew(self) -> "SlicePlan":
        """For a new champion: the same slices are judged, until numbers can be cut anew."""
        columns = (replace(one, gone={}, aged=bool(one.cuts)) for one in self.columns)
        return replace(self, columns=tuple(columns))

"""What the checks found: small frozen values that a run can store."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check of one column, or of the whole snapshot."""

    check: str
    """Line of config it comes from: schema, nulls, ranges, allowed, duplicates, ..."""
    column: str | None = None
    """The column, or None when it is about all of them or about the rows."""
    passed: bool
    """Whether the figure is within the bound."""
    figure: float | None = None
    """What was measured (share, rows, seconds ...), or None when it is not a number."""
    bound: float | None = None
    """What was allowed, in the unit of the figure."""
    message: str
    """The column, the figure and the bound in one sentence."""
    older: bool = False
    """It is about labels of rows that were new before, and matured since."""
    notable: bool = False
    """The report says it also when it passed."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Whether a snapshot is fit to train on."""

    view: str
    """Name of the view."""
    version: int
    """The version that was checked."""
    since: int | None
    """The version before the new rows."""
    passed: bool
    """True when every result passed."""
    rows: int
    """Rows that the checks of values looked at."""
    reason: str
    """One sentence: what failed, or that nothing did."""
    results: tuple[CheckResult, ...]
    """Every check, failures first."""

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The results that did not pass."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def new_failures(self) -> tuple[CheckResult, ...]:
        """Those that the new rows are to blame for."""
        return tuple(result for result in self.failures if not result.older)

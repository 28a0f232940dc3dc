"""What can go wrong in the feature store, one class for each.

FeatureStoreError
├── InvalidConfig        a config value that no store can work with
├── UnknownView          no view of that name
├── UndeclaredView       a table that others wrote, with no view declared for it
├── ViewExists           a view of that name is declared already, differently
├── InvalidView          a view that contradicts itself or its table
├── UnknownColumn        a column that the view does not have
├── SchemaMismatch       rows whose columns or types are not those of the view
├── ImpossibleTime       rows with an event time that cannot be
├── UnknownVersion       a version that was never made
├── VersionGone          a version that existed, and whose log or files have disappeared
├── ExclusionLost        an excluded version whose rows were rewritten into other files
├── UnsupportedTable     a table feature that cannot be read file by file
├── DamagedFile          a file of the store that is not what was written there
├── AppendConflict       too many writers at once (retry)
└── StoreUnavailable     a store that cannot be reached, read or written (retry)

`hint` is the next action in one line. `permanent` is true where a retry cannot help.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class FeatureStoreError(Exception):
    """Base of every error of the feature store."""

    permanent: bool = True

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the hint when the error travels between processes."""
        return (_rebuild, (type(self), str(self), self.hint))


def _rebuild(kind: type[FeatureStoreError], message: str, hint: str | None) -> FeatureStoreError:
    return kind(message, hint=hint)


class InvalidConfig(FeatureStoreError):
    """A config value that no store can work with."""


class UnknownView(FeatureStoreError):
    """No view of that name is declared in the store."""


class UndeclaredView(FeatureStoreError):
    """A table is there, but no view was declared for it."""


class ViewExists(FeatureStoreError):
    """A view of that name is declared already, with another definition."""


class InvalidView(FeatureStoreError):
    """A view that contradicts itself or the table under it."""


class UnknownColumn(FeatureStoreError):
    """A column that the view does not have."""


class SchemaMismatch(FeatureStoreError):
    """Rows whose columns or types are not those of the view."""


class ImpossibleTime(FeatureStoreError):
    """Rows whose event time lies before 1900 or in the future."""


class UnknownVersion(FeatureStoreError):
    """A version that was never made."""


class VersionGone(FeatureStoreError):
    """A version that existed, and whose log entries or files have disappeared."""


class ExclusionLost(FeatureStoreError):
    """An excluded version whose rows were rewritten into the files of another version."""


class UnsupportedTable(FeatureStoreError):
    """A table that uses a feature which cannot be read file by file."""


class DamagedFile(FeatureStoreError):
    """A file of the store that is not what was written there."""


class AppendConflict(FeatureStoreError):
    """Other writers won every attempt."""

    permanent = False


class StoreUnavailable(FeatureStoreError):
    """The store cannot be reached, read or written just now."""

    permanent = False


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word is meant: `; did you mean 'x'?`, or list the first few."""
    words = sorted(known)
    close = get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if not words:
        return ""
    more = f" and {len(words) - 8} more" if len(words) > 8 else ""
    return f"; known: {', '.join(words[:8])}{more}"

"""What data there is: views, versions, watermarks, snapshots, point-in-time joins and checks.

Names that need Arrow or DuckDB are imported when they are first asked for: most starts need
neither, and would wait for them longer than for all the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from feature_store.config import FeatureStoreConfig
from feature_store.errors import (
    AppendConflict,
    DamagedFile,
    ExclusionLost,
    FeatureStoreError,
    ImpossibleTime,
    InvalidConfig,
    InvalidView,
    SchemaMismatch,
    StoreUnavailable,
    UndeclaredView,
    UnknownColumn,
    UnknownVersion,
    UnknownView,
    UnsupportedTable,
    VersionGone,
    ViewExists,
)
from feature_store.snapshot import Kept, Part, Snapshot, Version

if TYPE_CHECKING:
    from feature_store.checks.config import ChecksConfig, ExtraColumns, Range, Scope
    from feature_store.checks.report import CheckReport, CheckResult
    from feature_store.checks.run import run_checks
    from feature_store.joins import point_in_time_join
    from feature_store.store import FeatureStore, connect
    from feature_store.store_id import identity
    from feature_store.views import FeatureView
    from feature_store.watermarks import Decision, Watermark, Watermarks

__all__ = [
    "AppendConflict",
    "CheckReport",
    "CheckResult",
    "ChecksConfig",
    "DamagedFile",
    "Decision",
    "ExclusionLost",
    "ExtraColumns",
    "FeatureStore",
    "FeatureStoreConfig",
    "FeatureStoreError",
    "FeatureView",
    "InvalidConfig",
    "ImpossibleTime",
    "InvalidView",
    "Kept",
    "Part",
    "Range",
    "SchemaMismatch",
    "Scope",
    "Snapshot",
    "StoreUnavailable",
    "UndeclaredView",
    "UnknownColumn",
    "UnknownVersion",
    "UnknownView",
    "UnsupportedTable",
    "Version",
    "VersionGone",
    "ViewExists",
    "Watermark",
    "Watermarks",
    "connect",
    "identity",
    "point_in_time_join",
    "run_checks",
]

_LATE = {
    "ChecksConfig": "feature_store.checks.config",
    "ExtraColumns": "feature_store.checks.config",
    "Range": "feature_store.checks.config",
    "Scope": "feature_store.checks.config",
    "CheckReport": "feature_store.checks.report",
    "CheckResult": "feature_store.checks.report",
    "FeatureView": "feature_store.views",
    "run_checks": "feature_store.checks.run",
    "identity": "feature_store.store_id",
    "point_in_time_join": "feature_store.joins",
    "FeatureStore": "feature_store.store",
    "connect": "feature_store.store",
    "Decision": "feature_store.watermarks",
    "Watermark": "feature_store.watermarks",
    "Watermarks": "feature_store.watermarks",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value

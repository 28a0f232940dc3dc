"""What data there is: views, versions, watermarks, snapshots, point-in-time joins and checks."""

from feature_store.checks.config import ChecksConfig, ExtraColumns, Range, Scope
from feature_store.checks.report import CheckReport, CheckResult
from feature_store.checks.run import run_checks
from feature_store.config import FeatureStoreConfig
from feature_store.errors import (
    AppendConflict,
    DamagedFile,
    ExclusionLost,
    FeatureStoreError,
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
from feature_store.joins import point_in_time_join
from feature_store.snapshot import Part, Snapshot, Version
from feature_store.store import FeatureStore, connect
from feature_store.views import FeatureView
from feature_store.watermarks import Watermark, Watermarks

__all__ = [
    "AppendConflict",
    "CheckReport",
    "CheckResult",
    "ChecksConfig",
    "DamagedFile",
    "ExclusionLost",
    "ExtraColumns",
    "FeatureStore",
    "FeatureStoreConfig",
    "FeatureStoreError",
    "FeatureView",
    "InvalidConfig",
    "InvalidView",
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
    "point_in_time_join",
    "run_checks",
]

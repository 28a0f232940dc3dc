"""What the package exports is its public interface, and importing it is cheap."""

import subprocess
import sys
from dataclasses import fields, is_dataclass

import feature_store

NAMES = [
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
    "ImpossibleTime",
    "InvalidConfig",
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


def test_the_public_names_are_these() -> None:
    assert sorted(feature_store.__all__) == NAMES
    for name in NAMES:
        assert hasattr(feature_store, name)


def test_what_is_stored_is_frozen_and_takes_keywords_only() -> None:
    stored = [getattr(feature_store, name) for name in NAMES]
    stored = [kind for kind in stored if is_dataclass(kind)]
    assert len(stored) == 12
    for kind in stored:
        assert kind.__dataclass_params__.frozen, kind
        assert all(field.kw_only for field in fields(kind)), kind


def test_importing_it_brings_in_no_heavy_library() -> None:
    heavy = "['pandas', 'polars', 'duckdb', 'deltalake', 'ray', 'mlflow', 'pyarrow.dataset']"
    program = f"import sys, feature_store; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr

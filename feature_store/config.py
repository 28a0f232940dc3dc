"""Where the feature store is."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FeatureStoreConfig:
    """One feature store: a folder or object-store prefix that holds a table for each view."""

    uri: str
    """Local folder, or (with Delta) a URI such as `s3://bucket/prefix`; credentials come from
    the environment of the process, never from config."""
    format: str = "delta"
    """`delta` (Delta tables) or `parquet` (plain Parquet folders, local only)."""

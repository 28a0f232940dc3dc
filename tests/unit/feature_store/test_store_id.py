"""A feature store is known again wherever it is moved to."""

from pathlib import Path

from feature_store import FeatureStoreConfig, identity


def test_a_store_keeps_its_id_when_it_is_moved_and_shares_it_with_no_other(tmp_path: Path) -> None:
    one, other = (FeatureStoreConfig(uri=str(tmp_path / name)) for name in ("one", "other"))
    made = identity(one)
    assert identity(one) == made != identity(other)
    (tmp_path / "one").rename(tmp_path / "moved")
    assert identity(FeatureStoreConfig(uri=str(tmp_path / "moved"))) == made

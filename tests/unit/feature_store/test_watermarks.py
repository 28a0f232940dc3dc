"""Watermarks only move forward, whoever writes them and however often."""

import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import (
    Decision,
    FeatureStoreConfig,
    FeatureStoreError,
    FeatureView,
    Watermark,
    Watermarks,
    connect,
)
from feature_store.location import Documents


@pytest.fixture
def watermarks(tmp_path: Path) -> Watermarks:
    return Watermarks(FeatureStoreConfig(uri=str(tmp_path)))


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.json"))


def test_a_consumer_that_never_advanced_has_none(watermarks: Watermarks) -> None:
    assert watermarks.get("meter", "retrain") is None


def test_an_advance_is_kept_for_each_view_and_consumer(watermarks: Watermarks) -> None:
    watermarks.advance("meter", "retrain", 3, quarantine=(2,))
    watermarks.advance("meter", "a/b c", 1)
    assert watermarks.get("meter", "retrain") == Watermark(
        view="meter", consumer="retrain", version=3, quarantine=(2,)
    )
    assert watermarks.get("meter", "a/b c") == Watermark(view="meter", consumer="a/b c", version=1)
    assert watermarks.get("other", "retrain") is None


def test_it_never_goes_back(watermarks: Watermarks) -> None:
    watermarks.advance("meter", "retrain", 5, quarantine=(4,))
    after = watermarks.advance("meter", "retrain", 2, quarantine=(1,))
    assert (after.version, after.quarantine) == (5, (1, 4))
    assert watermarks.get("meter", "retrain") == after


def test_the_same_advance_twice_is_one(watermarks: Watermarks, tmp_path: Path) -> None:
    first = watermarks.advance("meter", "retrain", 5, quarantine=(4,))
    assert watermarks.advance("meter", "retrain", 5, quarantine=(4,)) == first
    assert len(files(tmp_path)) == 1


def test_one_file_is_left_after_many_advances(watermarks: Watermarks, tmp_path: Path) -> None:
    for version in range(1, 6):
        watermarks.advance("meter", "retrain", version)
    assert len(files(tmp_path)) == 1
    assert files(tmp_path)[0].name.startswith("00000000000000000005-")


def test_a_crash_before_the_old_file_is_removed_changes_nothing(
    watermarks: Watermarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watermarks.advance("meter", "retrain", 1, quarantine=(1,))

    def killed(self: Documents, path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Documents, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            watermarks.advance("meter", "retrain", 2)
    assert len(files(tmp_path)) == 2
    expected = Watermark(view="meter", consumer="retrain", version=2, quarantine=(1,))
    assert watermarks.get("meter", "retrain") == expected
    watermarks.advance("meter", "retrain", 3)
    assert len(files(tmp_path)) == 1


def test_released_versions_leave_the_quarantine_for_good(watermarks: Watermarks) -> None:
    watermarks.advance("meter", "retrain", 5, quarantine=(2, 4))
    after = watermarks.release("meter", "retrain", (4,))
    assert (after.version, after.quarantine, after.released) == (5, (2,), (4,))
    again = watermarks.advance("meter", "retrain", 6, quarantine=(4, 6))
    assert again.quarantine == (2, 6)


def test_concurrent_advances_all_count(watermarks: Watermarks) -> None:
    start = threading.Barrier(4)

    def advance(who: int) -> Callable[[], None]:
        def run() -> None:
            start.wait()
            for step in range(5):
                version = 4 * step + who
                watermarks.advance("meter", "retrain", version, quarantine=(version,))

        return run

    threads = [threading.Thread(target=advance(who)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = watermarks.get("meter", "retrain")
    assert after is not None
    assert (after.version, after.quarantine) == (19, tuple(range(20)))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 9), st.frozensets(st.integers(0, 9), max_size=3)), max_size=6
    )
)
def test_any_order_of_advances_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, frozenset[int]]]
) -> None:
    watermarks = Watermarks(FeatureStoreConfig(uri=str(tmp_path_factory.mktemp("store"))))
    for order, ordered in (("there", steps), ("back", list(reversed(steps)))):
        for version, quarantine in ordered:
            watermarks.advance("meter", order, version, quarantine=tuple(quarantine))
    there, back = (watermarks.get("meter", order) for order in ("there", "back"))
    if not steps:
        assert there is back is None
        return
    assert there is not None
    assert back is not None
    assert (there.version, there.quarantine) == (back.version, back.quarantine)
    assert there.version == max(version for version, _ in steps)
    assert set(there.quarantine) == set().union(*(q for _, q in steps))


def test_a_negative_version_is_refused(watermarks: Watermarks) -> None:
    with pytest.raises(FeatureStoreError, match="cannot be at version -1"):
        watermarks.advance("meter", "retrain", -1)


def test_a_table_made_anew_starts_without_watermarks(
    watermarks: Watermarks, tmp_path: Path
) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    view = FeatureView(name="v", entities=("id",), event_time="at", features=())
    rows = pa.table({"id": [1], "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)])})
    store.create(view, rows.schema)
    for _ in range(3):
        store.append("v", rows)
    old = store.snapshot("v")
    watermarks.advance("v", "m", 3, quarantine=(2,), table=old.table)
    shutil.rmtree(tmp_path / "v")
    for _ in range(4):
        store.append("v", rows)
    assert watermarks.get("v", "m") is None
    watermarks.advance("v", "m", 3, table=old.table)  # a run that began on the old table
    assert watermarks.get("v", "m") is None
    watermarks.advance("v", "m", 1)
    mark = watermarks.get("v", "m")
    assert mark is not None
    assert (mark.version, mark.quarantine) == (1, ())
    assert store.snapshot("v", since=mark.version, exclude=mark.quarantine).new_rows == 3


def test_the_table_is_known_after_its_log_was_cleaned_up(
    watermarks: Watermarks, tmp_path: Path
) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    view = FeatureView(name="v", entities=("id",), event_time="at", features=())
    rows = pa.table({"id": [1], "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)])})
    store.create(view, rows.schema)
    store.append("v", rows)
    watermarks.advance("v", "m", 1)
    DeltaTable(str(tmp_path / "v")).create_checkpoint()
    (tmp_path / "v" / "_delta_log" / f"{0:020}.json").unlink()
    mark = watermarks.get("v", "m")
    assert mark is not None
    assert mark.version == 1


def test_watermarks_from_before_tables_had_ids_still_count(
    watermarks: Watermarks, tmp_path: Path
) -> None:
    folder = tmp_path / "_watermarks" / "v" / "m"
    folder.mkdir(parents=True)
    document = {"view": "v", "consumer": "m", "version": 3, "quarantine": [2], "released": []}
    (folder / f"{3:020}-0.json").write_text(json.dumps(document))
    mark = watermarks.get("v", "m")
    assert mark is not None
    assert (mark.version, mark.quarantine, mark.table) == (3, (2,), None)


def test_a_reset_goes_back_and_is_remembered(watermarks: Watermarks) -> None:
    watermarks.advance("v", "m", 5, quarantine=(4,))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = Decision.made("reset", (2,), actor="ann", reason="restored from a copy", now=now)
    assert watermarks.reset("v", "m", 2, made).version == 2
    mark = watermarks.advance("v", "m", 3)
    assert (mark.version, mark.quarantine, mark.decisions) == (3, (4,), (made,))

"""Watermarks only move forward, whoever writes them and however often."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import FeatureStoreConfig, FeatureStoreError, Watermark, Watermarks
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

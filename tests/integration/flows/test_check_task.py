"""The flow's poll and check: new rows that fail go into quarantine, in whichever view they came;
older labels only halt the run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from feature_store import (
    ChecksConfig,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
    Range,
    Snapshot,
    Watermarks,
    connect,
)
from flows.core import values
from flows.core.context import TaskContext, entered
from flows.core.errors import Halt, Skip
from flows.decided import skip_if_decided
from flows.retrain import check, poll
from flows.settings import Settings, StoreConfig
from ray_jobs import FeaturesConfig, JoinConfig, RayConfig
from registry import RegistryConfig

VIEW = FeatureView(name="meter", entities=("id",), event_time="at", features=("load",), label="y")
PROFILE = FeatureView(name="profile", entities=("id",), event_time="known", features=("age",))
JOINED = FeaturesConfig(view="meter", joins=(JoinConfig(view="profile", prefix="p_"),))
FEATURES = FeaturesConfig(view="meter", label_delay=timedelta(days=2))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        project=str(tmp_path),
        home=str(tmp_path),
        artifacts=f"{tmp_path}/artifacts",
        store=StoreConfig(url="sqlite://"),
        feature_store=FeatureStoreConfig(uri=f"{tmp_path}/features", format="parquet"),
        registry=RegistryConfig(
            tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
            ledger_url=f"sqlite:///{tmp_path}/ledger.db",
        ),
        ray=RayConfig(),
    )


def rows(days_ago: float, load: list[Any], y: list[Any]) -> pa.Table:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return pa.table(
        {
            "id": pa.array(range(len(y)), pa.int64()),
            "at": pa.array([at] * len(y), pa.timestamp("us", tz="UTC")),
            "load": pa.array(load, pa.float64()),
            "y": pa.array(y, pa.bool_()),
        }
    )


def checked(
    settings: Settings, features: FeaturesConfig = FEATURES, checks: ChecksConfig | None = None
) -> tuple[Snapshot, ...]:
    """A run's tasks `poll` and `check`."""
    context = TaskContext(
        run_id="r", flow="retrain", task="check", attempt=1, attempt_id="r.check.1",
        config_text=values.dumps(settings),
    )  # fmt: skip
    with entered(context):
        snapshots = poll.function(features, "digits")
        check.function(snapshots, checks or ChecksConfig(), features, "digits")
    return snapshots


def test_bad_labels_that_matured_halt_the_run_and_new_rows_are_not_to_blame(
    settings: Settings,
) -> None:
    store = connect(settings.feature_store)
    store.create(VIEW, rows(0, [1.0], [True]).schema)
    watermarks = Watermarks(settings.feature_store)
    store.append("meter", rows(3, [1.0, 2.0], [None, None]))
    store.append("meter", rows(2.5, [1.0, 2.0], [True, False]))
    watermarks.advance("meter", "digits", 2)
    store.append("meter", rows(0, [1.0, 2.0], [None, None]))
    for _ in range(2):
        with pytest.raises(Halt, match=r"50\.0 % null in the rows that matured since") as halted:
            checked(settings)
        assert "mend these labels" in str(halted.value.hint)
    seen = watermarks.get("meter", "digits")
    assert seen is not None
    assert (seen.version, seen.quarantine) == (2, ())
    store.append("meter", rows(0, [None, 2.0], [None, None]))
    with pytest.raises(Halt, match=r"column load: 25\.0 % null in the new rows"):
        checked(settings)
    seen = watermarks.get("meter", "digits")
    assert seen is not None
    assert (seen.version, seen.quarantine) == (4, (3, 4))


def profiles(days_ago: float, age: list[Any]) -> pa.Table:
    known = datetime.now(UTC) - timedelta(days=days_ago)
    return pa.table(
        {
            "id": pa.array(range(len(age)), pa.int64()),
            "known": pa.array([known] * len(age), pa.timestamp("us", tz="UTC")),
            "age": pa.array(age, pa.float64()),
        }
    )


@pytest.fixture
def store(settings: Settings) -> FeatureStore:
    """Two views with a first batch each, which the model has decided on."""
    store, marks = connect(settings.feature_store), Watermarks(settings.feature_store)
    for view, first in ((VIEW, rows(9, [1.0], [True])), (PROFILE, profiles(9, [30.0, 31.0]))):
        store.create(view, first.schema)
        marks.advance(view.name, "digits", store.append(view.name, first))
    return store


def seen(settings: Settings, view: str) -> tuple[int, tuple[int, ...]]:
    mark = Watermarks(settings.feature_store).get(view, "digits")
    assert mark is not None
    return mark.version, mark.quarantine


def test_new_data_in_a_joined_view_alone_starts_a_run(
    settings: Settings, store: FeatureStore
) -> None:
    with pytest.raises(Skip, match="no new data in meter and profile: nothing since version 1 of"):
        checked(settings, JOINED)
    store.append("profile", profiles(0, [32.0]))
    spine, joined = checked(settings, JOINED)
    assert (spine.view, spine.new_rows, joined.view, joined.new_rows) == ("meter", 0, "profile", 1)


def test_a_bad_version_of_a_joined_view_is_named_and_set_aside_and_the_next_run_goes_on(
    settings: Settings, store: FeatureStore
) -> None:
    store.append("meter", rows(0, [1.0, 2.0], [True, False]))
    store.append("profile", profiles(0, [-999.0, -999.0]))
    sane = ChecksConfig(ranges={"p_age": Range(min=0, max=120)})
    with pytest.raises(Halt, match=r"^view profile: column age: -999 to -999 in the new rows"):
        checked(settings, JOINED, sane)
    assert seen(settings, "profile") == (2, (2,))
    assert seen(settings, "meter") == (1, ())
    spine, joined = checked(settings, JOINED, sane)
    assert (spine.new_rows, joined.version, joined.excluded, joined.rows) == (2, 2, (2,), 2)


def test_bad_rows_to_train_on_leave_a_joined_view_alone_and_nothing_to_run_for(
    settings: Settings, store: FeatureStore
) -> None:
    store.append("meter", rows(0, [None, 2.0], [True, False]))
    store.append("profile", profiles(0, [32.0]))
    with pytest.raises(Halt, match=r"^view meter: column load: 50\.0 % null"):
        checked(settings, JOINED)
    assert seen(settings, "meter") == (2, (2,))
    assert seen(settings, "profile") == (2, ())
    with pytest.raises(Skip):
        checked(settings, JOINED)


def test_a_join_that_names_a_version_keeps_it_and_nothing_is_new_in_it(
    settings: Settings, store: FeatureStore
) -> None:
    store.append("profile", profiles(0, [None]))
    pinned = FeaturesConfig(view="meter", joins=(JoinConfig(view="profile", version=1),))
    with pytest.raises(Skip):
        checked(settings, pinned)
    store.append("meter", rows(0, [1.0], [False]))
    _, joined = checked(settings, pinned)
    assert (joined.version, joined.new_rows) == (1, 0)


def test_what_another_run_of_the_model_has_decided_on_meanwhile_is_not_trained_on_again(
    settings: Settings, store: FeatureStore
) -> None:
    store.append("meter", rows(5, [1.0, 2.0], [True, False]))
    snapshots = checked(settings)
    dataset = SimpleNamespace(sources=snapshots)

    def decide(attempt: int = 1, **more: Any) -> None:
        config = {**values.to_json(settings), **more}
        context = TaskContext(
            run_id="r", flow="retrain", task="train", attempt=attempt,
            attempt_id=f"r.train.{attempt}", config_text=values.dumps(config),
        )  # fmt: skip
        with entered(context):
            skip_if_decided(settings, dataset, "digits")  # type: ignore[arg-type]

    decide()
    Watermarks(settings.feature_store).advance("meter", "digits", snapshots[0].version)
    with pytest.raises(Skip, match="another run of digits has decided on meter@2 meanwhile"):
        decide()
    decide(again=True)
    decide(attempt=2)  # a retry of what this run decided on itself


def test_the_night_after_a_bad_upsert_trains_on_all_good_rows_and_says_which_are_left_out(
    settings: Settings,
) -> None:
    settings = replace(settings, feature_store=replace(settings.feature_store, format="delta"))
    store, uri = connect(settings.feature_store), f"{settings.feature_store.uri}/meter"
    store.create(VIEW, rows(0, [1.0], [True]).schema)

    def numbered(first: int, count: int, load: float) -> pa.Table:
        made = rows(3, [load] * count, [True] * count)
        return made.set_column(0, "id", pa.array(range(first, first + count), pa.int64()))

    for first in range(0, 2000, 100):
        store.append("meter", numbered(first, 100, 1.0))
    DeltaTable(uri).optimize.compact()
    checks = ChecksConfig(ranges={"load": Range(min=0.0)}, volume_factor=10.0)
    (first_night,) = checked(settings, checks=checks)
    Watermarks(settings.feature_store).advance("meter", "digits", first_night.version)
    upsert = DeltaTable(uri).merge(
        numbered(1950, 100, -999.0), predicate="t.id = s.id", source_alias="s", target_alias="t"
    )
    upsert.when_matched_update_all().when_not_matched_insert_all().execute()
    with pytest.raises(Halt, match="column load") as halted:
        checked(settings, checks=checks)
    assert "new rows per version" not in str(halted.value)
    store.append("meter", numbered(2050, 100, 1.0))
    for cleaned in (False, True):
        (snapshot,) = checked(settings, checks=checks)
        read = store.read(snapshot, ["id", "load"])
        assert set(read["load"].to_pylist()) == {1.0}
        assert (snapshot.new_rows, snapshot.rows) == (100, 2100 - 50 * cleaned)
        assert "100 rows of version 22 of meter are left out (quarantine)" in snapshot.notes
        assert cleaned == any("50 rows that version 22 replaced" in n for n in snapshot.notes)
        DeltaTable(uri).optimize.compact()
        DeltaTable(uri).vacuum(0, dry_run=False, enforce_retention_duration=False)
    mark = Watermarks(settings.feature_store).get("meter", "digits")
    assert mark is not None
    (decision,) = mark.decisions
    assert (decision.versions, decision.actor) == ((22,), "flow retrain")
    assert "column load" in decision.reason

"""Every store declares and describes views alike."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store import (
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
    InvalidView,
    StoreUnavailable,
    UndeclaredView,
    UnknownColumn,
    UnknownView,
    ViewExists,
    connect,
)

Rows = Callable[..., pa.Table]


def test_a_new_view_is_empty_at_version_0(store: FeatureStore, view: FeatureView) -> None:
    snapshot = store.snapshot("meter")
    assert (snapshot.version, snapshot.rows, snapshot.new_rows) == (0, 0, 0)
    assert snapshot.watermark is None
    assert store.read(snapshot).num_rows == 0
    assert store.read(snapshot).column_names == ["id", "at", "load", "peak"]
    assert store.parts(snapshot) == ()
    assert store.views() == ("meter",)
    assert store.view("meter") == view


def test_declaring_the_same_view_twice_changes_nothing(
    store: FeatureStore, view: FeatureView, rows: Rows
) -> None:
    store.append("meter", rows(2))
    assert store.create(view, rows(1).schema) == view
    assert store.create(view) == view
    assert store.latest_version("meter") == 1


def test_declaring_another_view_under_the_same_name_is_refused(
    store: FeatureStore, view: FeatureView, rows: Rows
) -> None:
    with pytest.raises(ViewExists, match="meter is declared already, with another definition"):
        store.create(replace(view, label=None), rows(1).schema)
    with pytest.raises(ViewExists, match="another schema"):
        store.create(view, rows(1).schema.append(pa.field("extra", pa.int64())))


def test_a_view_can_be_replaced_without_touching_its_versions(
    store: FeatureStore, view: FeatureView, rows: Rows
) -> None:
    store.append("meter", rows(2))
    wider = rows(1, day=1).append_column("temperature", pa.array([20.5]))
    store.append("meter", wider, merge_schema=True)
    assert "temperature" not in store.declared_columns("meter")
    store.replace(replace(view, features=("load", "temperature")))
    assert store.view("meter").features == ("load", "temperature")
    assert store.declared_columns("meter")["temperature"] == "double"
    assert store.latest_version("meter") == 2
    with pytest.raises(UnknownColumn, match="'tempreature'; did you mean 'temperature'"):
        store.replace(replace(view, features=("tempreature",)))


def test_without_a_schema_the_first_append_decides(
    config: FeatureStoreConfig, view: FeatureView, rows: Rows
) -> None:
    store = connect(config)
    store.create(view)
    assert store.snapshot("meter").rows == 0
    with pytest.raises(InvalidView, match="no schema yet"):
        store.read(store.snapshot("meter"))
    assert store.append("meter", rows(3)) == 1
    assert store.snapshot("meter").rows == 3
    assert store.declared_columns("meter")["load"] == "double"


def test_an_unknown_view_names_the_nearest(store: FeatureStore, rows: Rows) -> None:
    for action in (store.view, store.latest_version, store.snapshot, store.history):
        with pytest.raises(UnknownView, match=r"'metre'.*did you mean 'meter'") as caught:
            action("metre")
        assert caught.value.permanent
    with pytest.raises(UnknownView):
        store.append("metre", rows(1))
    with pytest.raises(UnknownView):
        store.restore("metre", 0)


def test_a_table_without_a_view_says_how_to_declare_one(
    store: FeatureStore, config: FeatureStoreConfig, view: FeatureView, rows: Rows
) -> None:
    store.append("meter", rows(4))
    Path(config.uri, "meter.view.json").unlink()
    with pytest.raises(UndeclaredView, match="no view is declared over it") as caught:
        store.snapshot("meter")
    assert caught.value.hint is not None
    assert "ratchet check" in caught.value.hint
    store.create(view)
    assert store.snapshot("meter").rows == 4
    assert store.declared_columns("meter")["load"] == "double"


def test_a_view_over_columns_that_the_table_lacks_is_refused(
    config: FeatureStoreConfig, view: FeatureView, rows: Rows
) -> None:
    store = connect(config)
    with pytest.raises(UnknownColumn, match=r"'lod'.*did you mean 'load'"):
        store.create(replace(view, features=("lod",)), rows(1).schema)
    with pytest.raises(InvalidView, match="event time load is double, not a timestamp"):
        store.create(replace(view, event_time="load", features=()), rows(1).schema)
    assert store.views() == ()


def test_the_view_can_be_read_by_people(store: FeatureStore, config: FeatureStoreConfig) -> None:
    text = Path(config.uri, "meter.view.json").read_text()
    assert '"event_time": "at"' in text
    assert '"load": "double"' in text


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, config: FeatureStoreConfig, view: FeatureView, rows: Rows
) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = connect(replace(config, uri=str(tmp_path / "file" / "features")))
    with pytest.raises(StoreUnavailable) as caught:
        store.create(view, rows(1).schema)
    assert "\n" not in str(caught.value)
    assert caught.value.hint is not None
    assert not caught.value.permanent

"""A view that contradicts itself is refused, and a stored one comes back."""

from dataclasses import replace
from pathlib import Path

import pytest

from feature_store import DamagedFile, FeatureStoreConfig, FeatureView, InvalidView, connect
from feature_store.views import StoredView, from_document, to_document, validate

VIEW = FeatureView(
    name="meter", entities=("site", "id"), event_time="at", features=("load",), label="peak"
)


def test_a_view_names_its_columns_in_order() -> None:
    assert VIEW.columns == ("site", "id", "at", "load", "peak")
    assert replace(VIEW, label=None).columns == ("site", "id", "at", "load")


def test_a_stored_view_comes_back_as_it_was() -> None:
    stored = StoredView(view=VIEW, columns={"site": "string", "load": "double"})
    assert from_document(to_document(stored)) == stored


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "_watermarks", "a b", "a.b"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidView, match="may hold letters"):
        validate(replace(VIEW, name=name))


def test_columns_that_differ_by_case_only_are_refused() -> None:
    with pytest.raises(InvalidView, match="view meter: columns load and Load differ by case only"):
        validate(replace(VIEW, label="Load"))


def test_a_column_named_twice_is_refused() -> None:
    with pytest.raises(InvalidView, match="view meter: column load is named twice"):
        validate(replace(VIEW, label="load"))


def test_a_view_about_nobody_is_refused() -> None:
    with pytest.raises(InvalidView, match="no entity column"):
        validate(replace(VIEW, entities=()))


def test_a_view_file_that_was_edited_badly_is_one_clear_line(tmp_path: Path) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    (tmp_path / "meter.view.json").write_text('{"name": "meter"}')
    with pytest.raises(InvalidView, match="cannot be understood"):
        store.view("meter")
    (tmp_path / "meter.view.json").write_text('{"name": ')
    with pytest.raises(DamagedFile, match=r"meter\.view\.json is not JSON"):
        store.view("meter")

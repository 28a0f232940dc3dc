from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store import FeatureView
from ray_jobs import FeaturesConfig, JoinConfig, RayJobError, UnfitData
from ray_jobs.dataset import PARTS, ROW_ID, read, read_manifest
from ray_jobs.references import Source
from ray_jobs.training_errors import FeatureError

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RATIO = """
import pyarrow.compute as pc

def ratio(table):
    return table.append_column("ratio", pc.divide(table["a"], pc.add(pc.abs(table["b"]), {one})))
"""


def test_only_what_is_new_is_extracted_and_the_same_inputs_give_the_same_digest(
    workshop: Any,
) -> None:
    workshop.create("grows", 300)
    module = workshop.write("grows_features", RATIO.format(one=1.0))
    config = FeaturesConfig(view="grows", functions=(f"{module}:ratio",))
    first = workshop.extract(config)
    again = workshop.extract(config)
    assert (first.rows, first.parts, first.reused) == (300, 1, 0)
    assert first.columns == ("a", "b", "ratio")
    assert again == replace(first, reused=1)
    workshop.store.append("grows", workshop.rows(200, first=300))
    grown = workshop.extract(config)
    assert (grown.rows, grown.parts, grown.reused) == (500, 2, 1)
    assert grown.digest != first.digest
    assert workshop.extract(config, exclude=(2,)).digest == first.digest


def test_a_changed_function_changes_the_definition_and_every_part(workshop: Any) -> None:
    workshop.create("changes", 100)
    module = workshop.write("changing_features", RATIO.format(one=1.0))
    config = FeaturesConfig(view="changes", functions=(f"{module}:ratio",))
    first = workshop.extract(config)
    workshop.write("changing_features", RATIO.format(one=2.0))
    second = workshop.extract(config)
    assert second.reused == 0
    assert second.definition != first.definition
    before, after = (read(d, ["ratio"])["ratio"].to_numpy() for d in (first, second))
    assert (before != after).any()


def test_a_killed_extraction_is_healed_by_the_next_one(workshop: Any) -> None:
    workshop.create("heals", 100)
    workshop.store.append("heals", workshop.rows(100, first=100))
    config = FeaturesConfig(view="heals")
    whole = workshop.extract(config)
    parts = Path(whole.uri).parent / PARTS / whole.definition[:16]
    Path(whole.uri, "manifest.json").unlink()
    indexes, files = sorted(parts.glob("*.json")), sorted(parts.glob("*.parquet"))
    indexes[0].unlink()  # killed after a part was written, before that was noted
    next(f for f in files if f.stem == indexes[1].stem).unlink()
    healed = workshop.extract(config)
    assert healed == replace(whole, reused=0)
    assert read(healed, ["a"]).num_rows == 200
    with pytest.raises(RayJobError, match="not in the artifact store any more"):
        read(replace(whole, uri=whole.uri + "-gone"), ["a"])


def test_a_worker_that_dies_is_replaced(workshop: Any) -> None:
    workshop.create("dies", 100)
    marker = workshop.home / "died"
    module = workshop.write(
        "dying_features",
        f"""
import os, pathlib

def once(table):
    marker = pathlib.Path({str(marker)!r})
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), 9)
    return table
""",
    )
    dataset = workshop.extract(FeaturesConfig(view="dies", functions=(f"{module}:once",)))
    assert marker.exists()
    assert dataset.rows == 100


def test_a_failing_function_is_named_with_its_part_and_rows(workshop: Any) -> None:
    workshop.create("fails", 100)
    module = workshop.write("failing_features", "def broken(table):\n    return 1 / 0\n")
    with pytest.raises(FeatureError) as caught:
        workshop.extract(FeaturesConfig(view="fails", functions=(f"{module}:broken",)))
    sentence = str(caught.value)
    assert sentence.startswith("feature function failing_features:broken raised ZeroDivisionError")
    assert "of version 1, rows 0 to 99" in sentence
    assert caught.value.permanent


def test_a_large_file_is_cut_into_shards_and_gives_the_same_rows(workshop: Any) -> None:
    workshop.create("cut")
    config = FeaturesConfig(view="cut", shards=3)
    workshop.store.append("cut", workshop.rows(1000))
    part = workshop.store.parts(workshop.store.snapshot("cut"))[0]
    pq.write_table(pq.read_table(part.uri), part.uri, row_group_size=100)
    cut, whole = workshop.extract(config), workshop.extract(replace(config, shards=None))
    assert (cut.parts, whole.parts) == (3, 1)
    assert read(cut, ["a", "y"]).equals(read(whole, ["a", "y"]))
    assert read(cut, ["a"])[ROW_ID].to_pylist() == list(range(1000))


def test_a_join_is_made_again_only_where_the_other_view_could_matter(workshop: Any) -> None:
    workshop.create("left", 100)
    workshop.store.append("left", workshop.rows(100, first=100))
    view = FeatureView(name="right", entities=("id",), event_time="seen", features=("v",))

    def append(minute: int, value: float) -> None:
        workshop.store.append(
            "right",
            pa.table(
                {
                    "id": pa.array([7], pa.int64()),
                    "seen": pa.array(
                        [workshop.start + timedelta(minutes=minute)], pa.timestamp("us", tz="UTC")
                    ),
                    "v": [value],
                }
            ),
        )

    workshop.store.create(view)
    append(5, 1.0)
    config = FeaturesConfig(view="left", joins=(JoinConfig(view="right", prefix="r_"),))
    first = workshop.extract(config)
    assert first.columns == ("a", "b", "r_v")
    values = read(first, ["r_v"])["r_v"].to_pylist()
    assert [i for i, value in enumerate(values) if value == 1.0] == [7, 57, 107, 157]
    assert [(s.view, s.version) for s in first.sources] == [("left", 2), ("right", 1)]
    append(1_000, 2.0)  # after every row of the left
    assert workshop.extract(config).reused == 2
    append(120, 3.0)  # late, and known to the second part only
    late = workshop.extract(config)
    assert late.reused == 1
    assert read(late, ["r_v"])["r_v"].to_pylist()[157] == 3.0
    assert read(late, ["r_v"])["r_v"].to_pylist()[107] == 1.0


def test_the_joined_views_are_read_as_they_were_pinned_without_what_was_set_aside(
    workshop: Any,
) -> None:
    workshop.create("spine", 10)
    view = FeatureView(name="profiles", entities=("id",), event_time="seen", features=("v",))
    workshop.store.create(view)
    for value in (1.0, -999.0, 3.0):
        known = pa.array([workshop.start] * 10, pa.timestamp("us", tz="UTC"))
        rows = {"id": pa.array(range(10), pa.int64()), "seen": known, "v": [value] * 10}
        workshop.store.append("profiles", pa.table(rows))
    config = FeaturesConfig(view="spine", joins=(JoinConfig(view="profiles"),))
    right = workshop.store.snapshot("profiles", version=2, exclude=(2,))
    dataset = workshop.extract(config, joined=(right,))
    assert set(read(dataset, ["v"])["v"].to_pylist()) == {1.0}
    assert dataset.sources[1] == Source(
        view="profiles", version=2, table=right.table, excluded=(2,), watermark=workshop.start
    )


def test_an_empty_view_and_a_filter_that_drops_everything_are_unfit(workshop: Any) -> None:
    workshop.create("empty")
    with pytest.raises(UnfitData, match="has no rows at version 0"):
        workshop.extract(FeaturesConfig(view="empty"))
    workshop.create("dropped", 10)
    module = workshop.write("dropping_features", "def nothing(table):\n    return table[:0]\n")
    with pytest.raises(UnfitData, match="dropped all 10 rows"):
        workshop.extract(FeaturesConfig(view="dropped", functions=(f"{module}:nothing",)))


def test_a_view_without_label_asks_for_one(workshop: Any) -> None:
    workshop.create("unlabelled", 10, label=None)
    with pytest.raises(FeatureError, match="declares no label") as caught:
        workshop.extract(FeaturesConfig(view="unlabelled"))
    assert caught.value.hint
    labelled = workshop.extract(FeaturesConfig(view="unlabelled", label="y"))
    definition, parts = read_manifest(labelled)
    assert definition.label == labelled.label == "y"
    assert sum(part.rows for part in parts) == 10

"""What jobs and datasets leave, and what goes of it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from ray_jobs import ArtifactError, ArtifactStore
from ray_jobs.leftovers import of_datasets, of_jobs

KEY = "{:032d}"


@pytest.fixture(params=["folder", "object-store"])
def artifacts(request, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "artifacts")
    return f"fsspec+memory://left-{uuid.uuid4().hex}/artifacts"


def dataset(artifacts, name, *keys):
    """A dataset of view v with one part for each key, of four bytes, and its note of two."""
    store = ArtifactStore(f"{artifacts}/datasets/v")
    parts = [f"d1/{KEY.format(key)}-0-1.parquet" for key in keys]
    for part, key in zip(parts, keys, strict=True):
        store.write_text(f"parts/{part}", "rows")
        store.write_text(f"parts/d1/{KEY.format(key)}.json", "[]")
    store.write_text(f"{name}/manifest.json", json.dumps({"parts": [{"name": p} for p in parts]}))
    store.write_text(f"{name}/losses.parquet", "losses")
    return f"{artifacts}/datasets/v/{name}"


def files(artifacts):
    return set(ArtifactStore(f"{artifacts}/datasets/v").sizes())


def test_a_dataset_goes_with_the_parts_that_only_it_has(artifacts):
    old, new = dataset(artifacts, "old", 1, 2), dataset(artifacts, "new", 2, 3)
    (leftover,) = of_datasets({old})
    manifest = len(ArtifactStore(old).read_bytes("manifest.json"))
    assert (leftover.files, leftover.bytes) == (4, 4 + 2 + 6 + manifest)
    leftover.remove()
    one = KEY.format(1)
    assert not {f for f in files(artifacts) if f.startswith("old/") or one in f}
    assert {f"parts/d1/{KEY.format(k)}-0-1.parquet" for k in (2, 3)} < files(artifacts)
    assert ArtifactStore(new).exists("manifest.json")
    leftover.remove()
    assert of_datasets({old}) == ()


def test_datasets_that_go_together_share_what_they_shared(artifacts):
    uris = {dataset(artifacts, "a", 1, 2), dataset(artifacts, "b", 2, 3)}
    for leftover in of_datasets(uris):
        leftover.remove()
    assert files(artifacts) == set()


def test_what_an_interrupted_removal_left_is_found_again(artifacts):
    uri = dataset(artifacts, "old", 1, 2)
    store = ArtifactStore(f"{artifacts}/datasets/v")
    store.delete(f"parts/d1/{KEY.format(1)}-0-1.parquet")
    store.delete("old/losses.parquet")
    (leftover,) = of_datasets({uri})
    assert leftover.files == 4
    leftover.remove()
    assert files(artifacts) == set()


def test_nothing_goes_when_a_manifest_that_stays_cannot_be_read(artifacts):
    uri = dataset(artifacts, "old", 1)
    ArtifactStore(f"{artifacts}/datasets/v").write_text("new/manifest.json", "{")
    with pytest.raises(ArtifactError, match="nobody knows what it needs"):
        of_datasets({uri})


def test_a_jobs_markers_go_and_another_jobs_stay(artifacts):
    store = ArtifactStore(f"{artifacts}/jobs")
    for name in ("j1/spec.json", "j1/log.txt", "j2/spec.json"):
        store.write_text(name, "12345")
    (leftover,) = of_jobs(artifacts, ["j1", "j3"])
    assert (leftover.files, leftover.bytes) == (2, 10)
    leftover.remove()
    assert store.list() == ("j2",)


def test_what_was_hidden_is_found_by_no_extraction_and_what_is_written_again_stays(tmp_path):
    artifacts = str(tmp_path)
    uri = dataset(artifacts, "old", 1, 2)
    (leftover,) = of_datasets({uri})
    leftover.hide()
    assert not {
        file for file in files(artifacts) if file.startswith("parts/d1/") and ".json" in file
    }
    for key in (1, 2):
        assert f"parts/d1/{KEY.format(key)}-0-1.parquet" in files(artifacts)
    dataset(artifacts, "old", 1)  # an extraction meanwhile makes it again, with one of its parts
    leftover.remove()
    one = KEY.format(1)
    assert files(artifacts) == {
        "old/manifest.json", "old/losses.parquet", f"parts/d1/{one}.json",
        f"parts/d1/{one}-0-1.parquet",
    }  # fmt: skip

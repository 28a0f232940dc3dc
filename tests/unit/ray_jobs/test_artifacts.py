"""Small files in a local folder and in an object store, behind one class."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

import pytest

from ray_jobs import ArtifactError, ArtifactStore


@pytest.fixture(params=["folder", "file-uri", "object-store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return ArtifactStore(str(tmp_path / "artifacts"))
    if request.param == "file-uri":
        return ArtifactStore(f"file://{tmp_path}/with%20space")
    return ArtifactStore(f"fsspec+memory://bucket-{uuid.uuid4().hex}/artifacts")


def test_what_is_written_is_read_back(store: ArtifactStore) -> None:
    store.write_text("jobs/a/spec.json", "größe")
    assert store.read_text("jobs/a/spec.json") == "größe"
    assert store.exists("jobs/a/spec.json")


def test_reading_goes_on_from_an_offset(store: ArtifactStore) -> None:
    store.write_bytes("log.txt", b"one two")
    assert store.read_bytes("log.txt", offset=4) == b"two"
    assert store.read_bytes("log.txt", offset=7) == b""
    assert store.read_bytes("log.txt", offset=99) == b""


def test_a_name_that_is_not_there_is_a_file_not_found(store: ArtifactStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.read_text("nothing.json")
    assert not store.exists("nothing.json")


def test_creating_a_file_twice_keeps_the_first(store: ArtifactStore) -> None:
    assert store.create_text("heartbeat.json", "first")
    assert not store.create_text("heartbeat.json", "second")
    assert store.read_text("heartbeat.json") == "first"


def test_writing_replaces_and_deleting_twice_is_harmless(store: ArtifactStore) -> None:
    store.write_text("a.txt", "old")
    store.write_text("a.txt", "new")
    assert store.read_text("a.txt") == "new"
    store.delete("a.txt")
    store.delete("a.txt")
    assert not store.exists("a.txt")


def test_a_listing_names_files_and_folders_and_nothing_temporary(store: ArtifactStore) -> None:
    assert store.list("jobs") == ()
    store.write_text("jobs/b/spec.json", "")
    store.write_text("jobs/a.txt", "")
    assert store.list("jobs") == ("a.txt", "b")
    assert store.child("jobs").list("b") == ("spec.json",)


def test_a_child_is_the_same_place_by_a_longer_uri(store: ArtifactStore) -> None:
    store.child("jobs/a").write_text("done.json", "{}")
    assert store.read_text("jobs/a/done.json") == "{}"


def test_of_many_creators_in_a_folder_exactly_one_wins(tmp_path: Path) -> None:
    store, won = ArtifactStore(str(tmp_path)), []
    ready = threading.Barrier(8)

    def create(number: int) -> None:
        ready.wait()
        if store.create_text("claim", str(number)):
            won.append(number)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_text("claim") == str(won[0])
    assert len(won) == 1


def test_a_folder_that_is_a_file_is_one_clear_permanent_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"Cannot write .*file/a.txt: Not a directory") as info:
        ArtifactStore(str(tmp_path / "file")).write_text("a.txt", "")
    assert info.value.permanent
    assert info.value.hint is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")

    store = ArtifactStore(str(tmp_path))
    store.write_text("a.txt", "old")
    monkeypatch.setattr("ray_jobs.artifacts.os.fsync", full)
    with pytest.raises(ArtifactError, match=r"a\.txt: No space left on device\.") as info:
        store.write_text("a.txt", "new")
    assert not info.value.permanent
    assert store.read_text("a.txt") == "old"
    assert store.list() == ("a.txt",)


def test_an_unknown_scheme_is_one_clear_error() -> None:
    with pytest.raises(ArtifactError, match=r"nosuch://bucket cannot be opened") as info:
        ArtifactStore("nosuch://bucket").write_text("a.txt", "")
    assert info.value.permanent


def test_a_relative_folder_has_a_location_that_reads_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ArtifactStore("artifacts").location == str(tmp_path / "artifacts")
    assert ArtifactStore("s3://bucket/a").location == "s3://bucket/a"


def test_the_files_of_a_folder_are_known_with_their_sizes(store: ArtifactStore) -> None:
    assert store.sizes("jobs") == {}
    store.write_text("jobs/a/spec.json", "123")
    store.write_text("jobs/b.txt", "")
    assert store.sizes("jobs") == {"a/spec.json": 3, "b.txt": 0}
    assert set(store.sizes()) == {"jobs/a/spec.json", "jobs/b.txt"}


def test_a_folder_goes_with_all_that_is_in_it_and_twice_is_harmless(store: ArtifactStore) -> None:
    store.write_text("jobs/a/spec.json", "")
    store.write_text("other/x", "")
    store.delete_folder("jobs")
    store.delete_folder("jobs")
    assert store.sizes() == {"other/x": 0}

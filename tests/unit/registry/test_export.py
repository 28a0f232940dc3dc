"""An export is whole or not there, in a folder and in an object store alike."""

import json
import shutil
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from registry.errors import ExportFailed
from registry.export import export_champion, exported_epoch
from registry.ledger import Action, LedgerEntry
from registry.manifest import manifest_of

ENTRY = LedgerEntry(
    model="digits",
    version="3",
    previous_version=None,
    action=Action.PROMOTE,
    verdict=None,
    run_id=None,
    actor="me",
    reason="better",
    at=datetime(2026, 5, 1, tzinfo=UTC),
    epoch=2,
    prev_hash="",
    hash="",
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "extra").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "extra" / "features.json").write_text("{}")
    return folder


@pytest.fixture(params=["folder", "file-uri", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "folder": f"{tmp_path}/out",
        "file-uri": (tmp_path / "out").as_uri(),
        "memory": f"memory://bucket-{uuid.uuid4().hex}/out",
    }[request.param]


def read(uri: str, path: str) -> str:
    with fsspec.open(f"{uri}/{path}") as file:
        return bytes(file.read()).decode()


def test_files_manifest_and_pointer_are_written(uri: str, files: Path) -> None:
    assert export_champion(uri, ENTRY, files) == f"{uri}/digits/v3"
    assert read(uri, "digits/v3/extra/features.json") == "{}"
    manifest = json.loads(read(uri, "digits/v3/MANIFEST.json"))
    assert [file["path"] for file in manifest["files"]] == ["extra/features.json", "model.bin"]
    assert manifest["files"][1]["size"] == 7
    current = json.loads(read(uri, "digits/CURRENT.json"))
    assert (current["version"], current["epoch"], current["path"]) == ("3", 2, "v3")
    assert current["digest"] == manifest["digest"] == manifest_of(files).digest


def test_repeating_it_changes_nothing(uri: str, files: Path) -> None:
    export_champion(uri, ENTRY, files)
    before = read(uri, "digits/v3/MANIFEST.json")
    export_champion(uri, ENTRY, files)
    assert read(uri, "digits/v3/MANIFEST.json") == before


def test_a_late_export_does_not_move_the_pointer_back(uri: str, files: Path) -> None:
    export_champion(uri, replace(ENTRY, version="4", epoch=3), files)
    export_champion(uri, ENTRY, files)
    assert json.loads(read(uri, "digits/CURRENT.json"))["version"] == "4"


def test_what_a_crash_left_half_written_is_replaced(uri: str, files: Path) -> None:
    filesystem, root = fsspec.core.url_to_fs(f"{uri}/digits/v3")
    filesystem.makedirs(root)
    filesystem.pipe_file(f"{root}/model.bin", b"half")
    export_champion(uri, ENTRY, files)
    assert read(uri, "digits/v3/model.bin") == "weights"


def test_a_crash_while_copying_leaves_no_version_behind(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", crash)
        with pytest.raises(ExportFailed, match="No space left") as caught:
            export_champion(f"{tmp_path}/out", ENTRY, files)
    assert "the promotion itself stands" in str(caught.value.hint)
    assert list((tmp_path / "out" / "digits").iterdir()) == []
    export_champion(f"{tmp_path}/out", ENTRY, files)
    assert (tmp_path / "out" / "digits" / "v3" / "MANIFEST.json").exists()


def test_an_unknown_store_is_said(files: Path) -> None:
    with pytest.raises(ExportFailed, match="nowhere://x"):
        export_champion("nowhere://x", ENTRY, files)


def test_whoever_serves_the_model_may_read_it_under_another_user(
    tmp_path: Path, files: Path
) -> None:
    files.chmod(0o700)
    (files / "model.bin").chmod(0o600)
    export_champion(f"{tmp_path}/out", ENTRY, files)
    home = tmp_path / "out" / "digits"
    for path in (home / "CURRENT.json", *(home / "v3").rglob("*"), home / "v3"):
        assert path.stat().st_mode & 0o044 == 0o044, path


@pytest.mark.parametrize("damaged", ['{"version": "2"}', "not JSON", "[]"])
def test_a_pointer_that_does_not_say_its_epoch_is_replaced(
    uri: str, files: Path, damaged: str
) -> None:
    export_champion(uri, ENTRY, files)
    with fsspec.open(f"{uri}/digits/CURRENT.json", "w") as file:
        file.write(damaged)
    assert exported_epoch(uri, "digits") is None
    export_champion(uri, ENTRY, files)
    assert exported_epoch(uri, "digits") == 2


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path, files: Path) -> None:
    left = tmp_path / "out" / "digits" / ".v2-abc" / "files"
    left.mkdir(parents=True)
    (left / "model.bin").write_bytes(b"half")
    export_champion(f"{tmp_path}/out", ENTRY, files)
    assert sorted(path.name for path in (tmp_path / "out" / "digits").iterdir()) == [
        "CURRENT.json",
        "v3",
    ]

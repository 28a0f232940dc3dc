"""On which file system the state store lies, and what is said where SQLite cannot work."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from flows.cli import examine
from flows.core.store import driver_errors
from flows.core.store import file_system as module
from flows.core.store.driver_errors import explained
from flows.core.store.file_system import file_system, network_of
from registry import RegistryError

MOUNTS = """\
overlay / overlay rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/ann/my\\040disk ext4 rw 0 0
C:\\134 /mnt/c 9p rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/ratchet", "overlay"),
        ("/home/ann/.ratchet", "nfs4"),
        ("/home/ann/my disk/x", "ext4"),
        ("/homes", "overlay"),
        ("/mnt/c/Users", "9p"),
    ],
)
def test_the_innermost_mount_says_the_file_system(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert file_system(Path(path), tmp_path / "mounts") == kind
    assert file_system(Path(path), tmp_path / "none") is None


@pytest.mark.parametrize(("kind", "found"), [("nfs4", "nfs4"), ("ext4", None), (None, None)])
def test_a_network_is_told_from_a_local_disk(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, found: str | None
) -> None:
    monkeypatch.setattr(module, "file_system", lambda path: kind)
    assert network_of(Path("/x")) == found


def test_a_ledger_on_a_network_is_told_before_it_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "network_of", lambda path: "nfs4")
    with pytest.raises(RegistryError, match="lies on nfs4, and SQLite needs a local disk") as said:
        examine._refuse_network(Path("/mnt/team/ledger.db"))
    assert "registry=server" in str(said.value.hint)
    examine._refuse_network(None)  # a server


@pytest.mark.parametrize("text", ["locking protocol", "disk I/O error"])
def test_a_store_on_a_network_is_told_to_be_one(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(driver_errors, "network_of", lambda path: "nfs4")
    error = explained(sqlite3.OperationalError(text), make_url("sqlite:////home/ann/ratchet.db"))
    assert "lies on nfs4" in str(error)
    assert "SQLite needs a local disk" in str(error)
    assert "store=postgres" in str(error.hint)


def test_on_a_local_disk_an_io_error_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_errors, "network_of", lambda path: None)
    error = explained(sqlite3.OperationalError("disk I/O error"), make_url("sqlite:////x/r.db"))
    assert "is full" in str(error)

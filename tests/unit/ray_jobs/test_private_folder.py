"""Ray's files lie where no other user of the machine reaches, or puts, anything."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ray_jobs import private_folder
from ray_jobs.errors import RayJobError
from ray_jobs.private_folder import session_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, as everybody's is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(private_folder, "_LONGEST", 1000)
    tmp_path.chmod(0o1777)
    return tmp_path


def test_it_is_of_this_user_alone_also_when_it_was_there(temporary: Path) -> None:
    outer = temporary / f"ratchet-{os.getuid()}"
    outer.mkdir(mode=0o777)
    outer.chmod(0o777)
    folder = session_folder("abcdef12")
    assert folder == session_folder("abcdef12") == outer / "ray-abcdef12"
    folder.chmod(0o777)  # as Ray leaves its own
    assert outer.stat().st_mode & 0o777 == 0o700
    assert session_folder("abcdef12").stat().st_mode & 0o777 == 0o700


def test_its_path_is_short_enough_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/a/folder/for/temporary/files/that/is/long")
    folder = session_folder("of-a-test")
    assert folder.parent.parent == Path("/tmp")
    folder.rmdir()


@pytest.mark.parametrize("name", ["ratchet-{uid}", "ratchet-{uid}/ray-a"])
@pytest.mark.parametrize("kind", ["link", "file", "link to nowhere"])
def test_what_somebody_has_put_in_its_place_is_refused(
    temporary: Path, tmp_path: Path, name: str, kind: str
) -> None:
    place = temporary / name.format(uid=os.getuid())
    place.parent.mkdir(exist_ok=True)
    if kind == "file":
        place.touch()
    else:
        theirs = tmp_path / "theirs"
        if kind == "link":
            theirs.mkdir()
        place.symlink_to(theirs)
    with pytest.raises(RayJobError, match="is not a folder of this user") as refused:
        session_folder("a")
    assert refused.value.hint
    assert "\n" not in str(refused.value)


def test_a_folder_of_another_user_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    (temporary / "ratchet-4000000").mkdir(mode=0o777)
    with pytest.raises(RayJobError, match="is not a folder of this user"):
        session_folder("a")


def test_a_place_where_everybody_may_replace_folders_is_refused(temporary: Path) -> None:
    temporary.chmod(0o777)
    with pytest.raises(RayJobError, match="everybody may replace") as refused:
        session_folder("a")
    assert refused.value.hint == f"chmod +t {temporary}, or set TMPDIR to a short path of your own"


def test_what_killed_rays_left_goes_when_the_next_starts(temporary: Path) -> None:
    folder, other = session_folder("a"), session_folder("b")
    session, dead = "session_2026-11-22_13-29-58_508286_", 2**22 + 1
    for name in (folder / f"{session}{os.getpid()}", other / f"{session}{dead}", other / "logs"):
        name.mkdir()
    session_folder("c")
    assert (other / f"{session}{dead}").exists()  # somebody may want its logs
    for name in (folder, other, *folder.iterdir(), *other.iterdir()):
        os.utime(name, (0, 0))
    session_folder("c")
    assert (folder / f"{session}{os.getpid()}").exists()
    assert not (other / f"{session}{dead}").exists()
    os.utime(other, (0, 0))
    session_folder("c")
    assert sorted(each.name for each in other.parent.iterdir()) == ["ray-a", "ray-c"]

"""A process that runs several jobs imports what is on disk, not what it once imported."""

import importlib
import sys
from pathlib import Path

import pytest

from ray_jobs import own_modules
from ray_jobs.own_modules import forget_changed, remember


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose modules alone are looked at: those of other tests change, too."""
    of_all = own_modules._own_modules
    monkeypatch.setattr(
        own_modules,
        "_own_modules",
        lambda package: [m for m in of_all(package) if str(m.__file__).startswith(str(tmp_path))],
    )
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_module_that_was_edited_is_imported_anew_with_what_imports_it(project: Path) -> None:
    (project / "warm_values.py").write_text("VALUE = 1\n")
    (project / "warm_user.py").write_text("from warm_values import VALUE\n")
    assert importlib.import_module("warm_user").VALUE == 1
    remember()
    assert forget_changed() == ()
    (project / "warm_values.py").write_text("VALUE = 75\n")
    assert {"warm_values", "warm_user"} <= set(forget_changed())
    assert importlib.import_module("warm_user").VALUE == 75
    assert "numpy" not in forget_changed()
    for name in ("warm_values", "warm_user"):
        sys.modules.pop(name, None)

import traceback
from pathlib import Path

import pytest

from ray_jobs.feature_code import load, pack
from ray_jobs.training_errors import FeatureError, UnknownName


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_packed_function_runs_as_it_was_after_the_project_changed(project: Path) -> None:
    write(project / "team_a.py", "import numpy as np\ndef f(x):\n    return float(np.sqrt(x))\n")
    old = pack(["team_a:f"], ("team_a",))
    write(project / "team_a.py", "def f(x):\n    return -x\n")
    new = pack(["team_a:f"], ("team_a",))
    assert load(old)[0](4) == 2
    assert load(new)[0](4) == -4
    assert old.digest != new.digest


def test_the_projects_own_modules_are_packed_along(project: Path) -> None:
    write(project / "pack_b/__init__.py", "raise RuntimeError('not needed')\n")
    write(project / "beside_b.py", "SHIFT = 5\n")
    write(project / "team_b/__init__.py", "")
    write(project / "team_b/constants.py", "from . import deeper\nFACTOR = deeper.TWO + 1\n")
    write(project / "team_b/deeper.py", "TWO = 2\n")
    write(
        project / "team_b/features.py",
        "import json\nimport beside_b\nfrom team_b.constants import FACTOR\n"
        "import team_b.deeper\nfrom . import constants as c\n"
        "def f(x):\n    from team_b.deeper import TWO\n"
        "    return x * FACTOR + beside_b.SHIFT + team_b.deeper.TWO + TWO + c.FACTOR\n",
    )
    code = pack(["team_b.features:f"], ("team_b",))
    names = {"beside_b", "team_b.constants", "team_b.deeper", "team_b.features", "team_b"}
    assert set(code.modules) == names
    for path in project.rglob("*.py"):
        path.unlink()
    assert load(code)[0](1) == 1 * 3 + 5 + 2 + 2 + 3


def test_installed_libraries_are_not_packed(project: Path) -> None:
    write(project / "team_c.py", "import numpy, pyarrow.compute as pc\ndef f(x):\n    return x\n")
    assert set(pack(["team_c:f"], ("team_c",)).modules) == {"team_c"}


def test_a_traceback_shows_the_packed_line(project: Path) -> None:
    write(project / "team_d.py", "def f(x):\n    return x / 0  # the culprit\n")
    code = pack(["team_d:f"], ("team_d",))
    write(project / "team_d.py", "\n\n\n# something else\n")
    with pytest.raises(ZeroDivisionError) as caught:
        load(code)[0](1)
    assert "the culprit" in "".join(traceback.format_exception(caught.value))


def test_the_digest_depends_on_order_and_source_alone(project: Path) -> None:
    write(project / "team_e.py", "def f(x):\n    return x\ndef g(x):\n    return x\n")
    paths = ["team_e:f", "team_e:g"]
    assert pack(paths, ("team_e",)).digest == pack(paths, ("team_e",)).digest
    assert pack(paths, ("team_e",)).digest != pack(paths[::-1], ("team_e",)).digest


FUNCTIONS = """
import functools, subprocess
from json import loads
from os import path
NUMBER = 1
def ratio(x):
    return x
_private = ratio
shell = functools.partial(subprocess.run, shell=True)
"""


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("team_f:ratoi", UnknownName, "does not exist; the nearest is 'ratio'"),
        ("team_f:NUMBER", UnknownName, "is not a function"),
        ("team_f:loads", UnknownName, "comes from module json"),
        ("team_f:shell", UnknownName, "is a partial"),
        ("team_f:path", UnknownName, "is not a function"),
        ("team_f:_private", UnknownName, "_private is private"),
        ("team_f:ratio.__class__", UnknownName, "not a dotted path"),
        ("team_nowhere:f", UnknownName, "no module team_nowhere"),
        ("os:system", UnknownName, "not among the allowed modules"),
        ("team_broken:f", FeatureError, "cannot be loaded: NameError"),
        ("team_syntax:f", FeatureError, "team_syntax"),
        ("math:sqrt", FeatureError, "no Python source"),
    ],
)
def test_a_function_that_cannot_be_packed_says_why(
    project: Path, path: str, kind: type[Exception], message: str
) -> None:
    write(project / "team_f.py", FUNCTIONS)
    write(project / "team_broken.py", "def f(x):\n    return x\nundefined\n")
    write(project / "team_syntax.py", "def f(x:\n")
    allowed = ("team_f", "team_nowhere", "team_broken", "team_syntax", "math")
    with pytest.raises(kind, match=message):
        pack([path], allowed)

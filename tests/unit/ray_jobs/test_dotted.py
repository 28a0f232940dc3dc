import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_jobs.dotted import BUILT_IN_MODULES, resolve
from ray_jobs.training_errors import UnknownName


@pytest.mark.parametrize("path", ["json:dumps", "json.dumps"])
def test_both_spellings_lead_to_the_object(path: str) -> None:
    assert resolve(path, ("json",)) is json.dumps


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("json:dump5", "nearest is 'dump"),
        ("json.decodr:JSONDecoder", "nearest is 'decoder'"),
        ("jsn:dumps", r"jsn is not among the allowed modules .*nearest is 'json'"),
        ("jsonx.evil:run", "not among the allowed modules"),
        ("os:system", "not among the allowed modules"),
        ("json dumps", "not a dotted path"),
        ("dumps", "not a dotted path"),
    ],
)
def test_a_wrong_path_is_refused_in_one_sentence(path: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message) as caught:
        resolve(path, ("json",))
    assert caught.value.permanent
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_nothing_is_imported_before_the_module_is_found_to_be_allowed() -> None:
    with pytest.raises(UnknownName):
        resolve("antigravity:fly", ("json",))
    assert "antigravity" not in sys.modules


TEAM = """
import functools, os, pickle, subprocess
import subprocess as sp
from json import loads
from subprocess import Popen, check_output
from flows.up.process import Process
from ray_jobs.spec import load_entrypoint
from sklearn.svm import SVC
from sklearn.utils import shuffle

class Model:
    def __init__(self, **params):
        self.params = params

    @classmethod
    def load(cls, path):
        return os.system(path)

class Popened(Model):
    pass

def network(inputs, outputs):
    return Model()

shell = functools.partial(subprocess.run, shell=True)
bound = Model.load
model = Model()
cached = functools.lru_cache(network)
_secret = network
Popened.__module__ = None
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; what was imported meanwhile is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("team_own", "torch"):
            del sys.modules[name]


@pytest.fixture
def team(folder: Path) -> str:
    """A project's own package, whose modules import this and that."""
    (folder / "team_own").mkdir()
    for name in ("__init__", "models", "_inner"):
        (folder / "team_own" / f"{name}.py").write_text(TEAM)
    return "team_own"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        # A private part of a library, and what it has imported from elsewhere
        ("sklearn.utils._testing:check_output", "_testing is private"),
        ("sklearn.utils._testing.check_output", "_testing is private"),
        ("sklearn.externals._arff:load", "_arff is private"),
        ("sklearn.svm:__loader__", "__loader__ is private"),
        ("sklearn.__init__:SVC", "__init__ is private"),
        # What is no class or function
        ("sklearn.utils:os", "has no 'os'|is a module"),
        ("sklearn.datasets:os", "has no 'os'|is a module"),
        ("sklearn.base:warnings", "is a module"),
        ("sklearn.utils:metadata_routing", "is a module"),
        # Functions of a library, and its classes that are no estimators
        ("sklearn.datasets:load_files", "no BaseEstimator"),
        ("sklearn.datasets:fetch_openml", "no BaseEstimator"),
        ("sklearn.utils:Bunch", "no BaseEstimator"),
        ("sklearn.base:clone", "no BaseEstimator"),
        ("sklearn:show_versions", "no BaseEstimator"),
        ("sklearn.model_selection:cross_validate", "no BaseEstimator"),
        # What a library has imported from elsewhere
        ("sklearn.base:defaultdict", "comes from module collections"),
        ("sklearn.pipeline:Counter", "has no|comes from module"),
        ("sklearn.pipeline:islice", "comes from module itertools"),
        # Attributes of attributes
        ("sklearn.svm:SVC.fit", "not a dotted path"),
        ("sklearn.svm.SVC.fit", "there is no module sklearn.svm.SVC"),
        ("sklearn.svm:SVC.__init__.__globals__", "not a dotted path"),
        # Elsewhere
        ("numpy.testing:run_module_suite", "not among the allowed"),
        ("joblib:load", "not among the allowed"),
        ("pickle:loads", "not among the allowed"),
        ("builtins:eval", "not among the allowed"),
        ("functools:partial", "not among the allowed"),
        ("subprocess:run", "not among the allowed"),
        ("sklearn_evil:run", "not among the allowed"),
        ("lambda: os.system('id')", "not a dotted path"),
        ("os;system", "not a dotted path"),
        ("..os:system", "not a dotted path"),
        ("", "not a dotted path"),
        (":system", "not a dotted path"),
        # Ratchet's own programs
        ("ray_jobs.spec:load_entrypoint", "not among the allowed"),
        ("ray_jobs.trainers:trainer", "not among the allowed"),
        ("flows.core.executors.perform:resolve", "not among the allowed"),
        ("flows.up.process:Process", "not among the allowed"),
        ("registry.models:Models", "not among the allowed"),
        ("feature_store:connect", "not among the allowed"),
        # Through a module of the project
        ("team_own.models:os", "is a module"),
        ("team_own.models:sp", "is a module"),
        ("team_own.models:check_output", "comes from module subprocess"),
        ("team_own.models:Popen", "comes from module subprocess"),
        ("team_own.models:loads", "comes from module json"),
        ("team_own.models:Process", "comes from module flows.up.process"),
        ("team_own.models:load_entrypoint", "comes from module ray_jobs.spec"),
        ("team_own.models:shuffle", "no BaseEstimator"),
        ("team_own.models:shell", "is a partial"),
        ("team_own.models:bound", "is a method"),
        ("team_own.models:model", "is a Model"),
        ("team_own.models:cached", "is a _lru_cache_wrapper"),
        ("team_own.models:Popened", "comes from module None"),
        ("team_own.models:_secret", "_secret is private"),
        ("team_own._inner:network", "_inner is private"),
        ("team_own.models:Model.load", "not a dotted path"),
        ("team_own.models.Model.load", "there is no module"),
    ],
)
def test_no_path_leads_to_what_was_not_meant_to_be_called(team: str, path: str, why: str) -> None:
    allowed = (*BUILT_IN_MODULES, "flows", "ray_jobs", "registry", "feature_store", team)
    with pytest.raises(UnknownName, match=why) as caught:
        resolve(path, allowed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "sklearn.linear_model:LogisticRegression",  # defined in sklearn.linear_model._logistic
        "sklearn.linear_model.LogisticRegression",
        "sklearn.pipeline:Pipeline",
        "team_own.models:Model",
        "team_own.models:network",
        "team_own:network",
        "team_own.models:SVC",
    ],
)
def test_estimators_of_libraries_and_what_a_project_defines_itself_may_be_named(
    team: str, path: str
) -> None:
    assert callable(resolve(path, (*BUILT_IN_MODULES, team)))


def test_of_xgboost_estimators_alone_may_be_named() -> None:
    pytest.importorskip("xgboost", reason="an optional trainer")
    assert callable(resolve("xgboost.XGBClassifier", BUILT_IN_MODULES))
    for name in ("Booster", "DMatrix", "train", "collective:init", "compat:import_cupy"):
        with pytest.raises(UnknownName):
            resolve(f"xgboost.{name}", BUILT_IN_MODULES)


@pytest.mark.skipif("torch" in sys.modules, reason="the real one is loaded")
def test_of_torch_networks_alone_may_be_named(folder: Path) -> None:
    files = {
        "torch/__init__.py": "import os\ndef load(f, **kwargs): return f\n",
        "torch/hub.py": "def load(repo_or_dir, model, **kwargs): return model\n",
        "torch/nn/__init__.py": "from torch.nn.modules.linear import Linear\n",
        "torch/nn/modules/__init__.py": "",
        "torch/nn/modules/module.py": "class Module: pass\n",
        "torch/nn/modules/linear.py": "from torch.nn.modules.module import Module\n"
        "class Linear(Module): pass\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert callable(resolve("torch.nn:Linear", BUILT_IN_MODULES))
    for path in ("torch.hub:load", "torch:load", "torch:os"):
        with pytest.raises(UnknownName):
            resolve(path, BUILT_IN_MODULES)


def test_a_module_that_was_edited_is_imported_anew_with_what_it_imports_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "edited").mkdir()
    (tmp_path / "edited" / "__init__.py").write_text("")
    (tmp_path / "edited" / "value.py").write_text("C = 0.1\n")
    builder = "from edited.value import C\ndef build():\n    return C\n"
    (tmp_path / "edited" / "models.py").write_text(builder)

    first = resolve("edited.models:build", ("edited",))
    again = resolve("edited.models:build", ("edited",))
    (tmp_path / "edited" / "value.py").write_text("C = 7.55\n")
    second = resolve("edited.models:build", ("edited",))

    assert again is first
    assert (first(), second()) == (0.1, 7.55)  # type: ignore[operator]


def test_what_a_notebook_defines_is_to_be_moved_to_a_module() -> None:
    for allowed in (("json",), ("json", "__main__")):
        with pytest.raises(UnknownName, match="workers cannot find it") as caught:
            resolve("__main__:Pipe", allowed)
        assert caught.value.hint == "move it to a module of the project: my_team.module:Pipe"

"""The composition root: what it refuses, and what it puts together."""

from __future__ import annotations

import pytest

from flows.bootstrap import open_project
from flows.core.errors import ConfigError, NotFound


@pytest.mark.parametrize("name", ["flows", "feature_store", "ray_jobs", "registry"])
def test_a_project_module_that_would_hide_ours_is_refused_by_its_path(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("")
    with pytest.raises(ConfigError, match=f"{name}.py has the name of a package of Ratchet"):
        open_project(tmp_path)


def test_a_module_of_flows_that_is_broken_does_not_stop_the_others(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(
        "defaults: [ratchet, _self_]\nflows: [flows.retrain, broken_for_the_test]\n"
    )
    (tmp_path / "broken_for_the_test.py").write_text("1 / 0\n")
    ratchet = open_project(tmp_path)
    assert ratchet.flow("retrain").name == "retrain"
    assert list(ratchet.broken) == ["broken_for_the_test"]
    with pytest.raises(NotFound, match="broken_for_the_test is broken: ZeroDivisionError"):
        ratchet.flow("missing")
    ratchet.close()


def test_a_run_goes_on_although_its_flow_is_not_among_the_projects_flows(tmp_path):
    (tmp_path / "elsewhere_for_the_test.py").write_text(
        "from flows import flow, task\n\n"
        "@task\ndef one() -> int:\n    return 1\n\n"
        "@flow\ndef odd() -> None:\n    one()\n"
    )
    first = open_project(tmp_path)
    run = first.start(first.flow("elsewhere_for_the_test:odd"), trigger={"kind": "test"})
    first.close()
    second = open_project(tmp_path)  # it was not told of the flow
    with second.engine(executor="threads") as engine:
        engine.run_until_ended([run.id])
    assert second.service.find(run.id).status == "succeeded"
    second.close()

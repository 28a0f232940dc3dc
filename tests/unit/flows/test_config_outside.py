"""What nobody outside the installation may say of a run: code, secrets, the environment."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flows.config import check_outside, compose
from flows.core.due import filled
from flows.core.errors import ConfigError
from flows.core.schedule import OnRequest, Schedule
from flows.retrain import RetrainConfig
from ray_jobs import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class Stage:
    rows: int = 1
    loader: str = field(default="", metadata={"names": "code"})


@dataclass(frozen=True, kw_only=True)
class Tuned:
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class Team:
    """A team's own config, with code in a list, in a mapping and in one of two alternatives."""

    name: str = "x"
    free: dict[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    by_name: dict[str, Stage] = field(default_factory=dict)
    either: Tuned | Stage = field(default_factory=Tuned)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    other: TrainerConfig = field(default_factory=TrainerConfig)


@pytest.mark.parametrize(
    "override",
    [
        "trainer.estimator=os.system",
        "+trainer.estimator=os.system",
        "++trainer.estimator=sklearn.svm.SVC",
        "trainer/estimator=os.system",
        "trainer.estimator=null",
        "~trainer.estimator",
        "trainer={estimator: os.system}",
        "trainer={kind: sklearn, estimator: sklearn.utils._testing:check_output}",
        "trainer.params={_target_: os.system}",
        "trainer.params.inner={deep: [1, {_target_: os.system}]}",
        "+trainer.params._target_=os.system",
        "features.functions=['shutil:rmtree']",
        "features.functions=[]",
        "features.functions.0=os.system",
        "features={functions: [os.system]}",
        "gate.simple={_target_: sklearn.linear_model.LogisticRegression}",
        "gate.simple._target_=os.system",
        "gate={simple: {_target_: os.system}}",
    ],
)
def test_a_key_of_the_training_loop_that_names_code_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="names code, which may not be named from outside") as no:
        check_outside(["again=true", override], RetrainConfig)
    assert no.value.hint == "choose one of the project's configs, such as trainer=xgboost"


@pytest.mark.parametrize(
    "override",
    [
        "stages.0.loader=os.system",
        "stages=[{rows: 2, loader: os.system}]",
        "by_name.first.loader=os.system",
        "by_name={first: {loader: os.system}}",
        "either.loader=os.system",
        "either={loader: os.system}",
        "free.a.b={_target_: os.system}",
        "free={a: [{_target_: os.system}]}",
        "free._target_.x=os",
    ],
)
def test_a_key_that_a_teams_own_config_marks_is_refused_wherever_it_stands(override: str) -> None:
    with pytest.raises(ConfigError, match="names code"):
        check_outside([override], Team)


@pytest.mark.parametrize(
    "override",
    [
        "name=os.system",
        "stages=[{rows: 2}]",
        "stages.0.rows=3",
        "by_name.first.rows=2",
        "either.steps=2",
        "free.a.b={target: c.d}",
        "trainer.params.max_depth=3",
        "trainer=xgboost",
        "trainer={seed: 3}",
    ],
)
def test_values_and_choices_may_be_given(override: str) -> None:
    check_outside([override], Team)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("name='${oc.env:HOME}'", "may not be an interpolation"),
        (r"name=$\{oc.env:HOME\}", "may not be an interpolation"),
        ("name='{at:$%%}{oc.env:HOME}'", "may hold no {at}"),
        ("free={a: '{at}'}", "may hold no {at}"),
        ("name=secret:API_TOKEN", "may refer to no secret"),
        ("free={a: ['x-secret:API_TOKEN']}", "may refer to no secret"),
        ("allowed_modules=[os]", "is a setting of the installation"),
        ("flows=[os]", "is a setting of the installation"),
        ("trainer@allowed_modules=xgboost", "is a setting of the installation"),
        ("trainer@=xgboost", "is a setting of the installation"),
        ("name=a,b", "names several values"),
    ],
)
def test_nothing_outside_the_flows_own_values_can_be_reached(override: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_outside([override], Team)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        (f"name={'int(' * 800}1{')' * 800}", "cannot be read"),
        (f"name={'[' * 60_000}", "at most 4096 characters"),
    ],
    ids=["nested calls", "long"],
)
def test_what_the_grammar_chokes_on_is_a_mistake_of_whoever_wrote_it(
    override: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        check_outside([override], Team)


def conf(project: Path, text: str) -> Path:
    (project / "conf" / "flow").mkdir(parents=True)
    (project / "conf" / "flow" / "team.yaml").write_text(f"# @package _global_\n{text}")
    return project


@pytest.mark.parametrize(
    "text",
    [
        "trainer: {estimator: '${name}'}",
        "trainer: {estimator: 'sklearn.${free.family}.SVC'}",
        "trainer: {estimator: '${.params.kind}', params: {kind: x}}",
        "trainer: {estimator: '${oc.select:name}'}",
        "trainer: {estimator: '${oc.env:X,${name}}'}",
        "trainer: {estimator: '${oc.env:${name}}'}",
        "trainer: ${free}",
        "free: {_target_: '${name}'}",
        "stages: [{loader: '${name}'}]",
    ],
)
def test_a_config_may_not_make_code_of_a_key_that_outsiders_may_set(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(ConfigError, match="names code, and may not be made of other keys") as no:
        compose("team", Team, (), conf(tmp_path, f"name: os.system\n{text}\n"))
    assert "conf/flow/team.yaml, line 3" in str(no.value)


@pytest.mark.parametrize(
    "text",
    [
        "trainer: {estimator: '${other.estimator}'}\nother: {estimator: sklearn.svm.SVC}",
        "trainer: ${other}\nother: {estimator: sklearn.svm.SVC}",
        "trainer: {estimator: '${oc.env:NO_SUCH,sklearn.svm.SVC}'}",
    ],
)
def test_code_may_be_made_of_code_and_of_the_environment(tmp_path: Path, text: str) -> None:
    composed = compose("team", Team, (), conf(tmp_path, text))
    assert composed.flow is not None
    assert composed.flow.trainer.estimator == "sklearn.svm.SVC"
    assert composed.code["trainer", "estimator"] == "sklearn.svm.SVC"


NAMED = "sklearn.svm:NuSVC"  # which an insider may name
KEYS = st.sampled_from(
    ["trainer", "trainer.estimator", "trainer.params.x", "other/estimator", "free",
     "free.a._target_", "stages.0", "stages.0.loader", "by_name.a", "either.loader", "name",
     "trainer@name", "trainer@", "_target_"]
)  # fmt: skip
LEAVES = st.sampled_from(
    [NAMED, f"'{NAMED}'", f"str({NAMED})", "${oc.env:PLANTED}", r"$\{oc.env:PLANTED\}",
     "'{at:%d}'", "${name}", "3"]
)  # fmt: skip
INNER = st.sampled_from(
    ["estimator", "loader", "_target_", "x", "params", "a", r"es\timator", "kind", "rows"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda values: f"[{','.join(values)}]"),
        st.lists(st.tuples(INNER, inner), max_size=2).map(
            lambda pairs: "{" + ",".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=4,
)
AT = datetime(2026, 3, 1, tzinfo=UTC)
CONF = """
stages: [{rows: 1, loader: sklearn.svm.SVC}]
by_name: {a: {loader: sklearn.svm.SVC}}
trainer: {estimator: sklearn.svm.SVC}
other: {estimator: '${trainer.estimator}'}
"""


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["", "+", "++"]), KEYS, VALUES), min_size=1, max_size=3))
@example([("", "trainer.estimator", NAMED)])
@example([("", "trainer", f"{{kind: sklearn, estimator: {NAMED}}}")])
@example([("", "name", r"$\{oc.env:PLANTED\}")])
def test_whatever_passes_from_outside_names_no_code_and_reads_nothing(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str, str]]
) -> None:
    overrides = [f"{sign}{key}={value}" for sign, key, value in parts]
    project = conf(tmp_path_factory.mktemp("p"), CONF)
    with pytest.MonkeyPatch.context() as patch, suppress(ConfigError):
        patch.setenv("PLANTED", "what-only-the-environment-knows")
        check_outside(overrides, Team)
        schedule = Schedule(trigger=OnRequest(), overrides=tuple(overrides))
        composed = compose("team", Team, filled(schedule, AT), project)
        assert NAMED not in composed.code.values()
        assert "what-only-the-environment-knows" not in composed.yaml

"""Composing a config: from YAML and overrides to typed dataclasses, and mistakes in one line."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from subprocess import run
from textwrap import dedent
from typing import Any

import pytest

from flows.config import Composed, check_own, compose, diff, expand, load, sources
from flows.core.errors import ConfigError
from flows.core.values import dumps
from flows.settings import ExecutorName, Settings, reveal


class Metric(StrEnum):
    ACCURACY = "accuracy"
    LOG_LOSS = "log_loss"


@dataclass(frozen=True, kw_only=True)
class Search:
    trials: int
    parallel: int = 1


@dataclass(frozen=True, kw_only=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Trainer:
    estimator: str = field(
        default="sklearn.linear_model.LogisticRegression", metadata={"names": "code"}
    )
    params: dict[str, Any] = field(default_factory=dict)
    weight: float | None = 1
    space: dict[str, tuple[Any, ...] | Interval] = field(default_factory=dict)
    search: Search | None = None


@dataclass(frozen=True, kw_only=True)
class Gate:
    min_effect: float = 0.0
    confidence: float = 1
    metric: Metric = Metric.ACCURACY
    rounds: int = 1000
    paired: bool = True
    slices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.min_effect < 0:
            raise ValueError("a minimum effect is never negative")


@dataclass(frozen=True, kw_only=True)
class Features:
    view: str
    functions: tuple[str, ...] = field(default=(), metadata={"names": "code"})
    label_delay: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Nightly:
    """A team's own flow config, as a flow would declare it."""

    model: str
    features: Features
    trainer: Trainer = field(default_factory=Trainer)
    gate: Gate = field(default_factory=Gate)


CONF = {
    "store/sqlite": "url: sqlite:///${home}/ratchet.db",
    "feature_store/delta": "uri: ${home}/features",
    "registry/local": """
        tracking_uri: sqlite:///${home}/mlflow.db
        ledger_url: sqlite:///${home}/ledger.db
        """,
    "ray/embedded": "mode: embedded",
    "features/elec": "view: elec\nlabel_delay: 7d",
    "features/digits": "view: digits",
    "trainer/sklearn": "estimator: sklearn.linear_model.LogisticRegression",
    "trainer/xgboost": "estimator: xgboost.XGBClassifier\nparams: {max_depth: 6}",
    "gate/default": "min_effect: 0.0",
    "gate/strict": "min_effect: 0.05",
    "flow/nightly": """
        # @package _global_
        defaults:
          - /features: elec
          - /trainer: sklearn
          - /gate: default
          - _self_
        model: ${features.view}
        """,
}


def write(project: Path, **files: str) -> None:
    for name, text in files.items():
        path = project / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).strip() + "\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A team's project, with a config group of its own for all that its flow needs."""
    write(tmp_path, **CONF)
    return tmp_path


def nightly(project: Path, *overrides: str) -> Composed[Nightly]:
    return compose("nightly", Nightly, overrides, project)


def flow_of(project: Path, *overrides: str) -> Nightly:
    flow = nightly(project, *overrides).flow
    assert flow is not None
    return flow


def refusal(project: Path, *overrides: str) -> str:
    """The one line that refuses these overrides, with its hint behind a bar."""
    with pytest.raises(ConfigError) as caught:
        nightly(project, *overrides)
    error = caught.value
    assert "\n" not in str(error)
    assert error.__cause__ is None
    return f"{error} | {error.hint}"


# What composing gives


def test_a_flow_gets_its_typed_config(project: Path) -> None:
    flow = flow_of(project)
    assert flow == Nightly(
        model="elec", features=Features(view="elec", label_delay=timedelta(days=7))
    )


def test_overrides_choose_groups_and_set_values(project: Path) -> None:
    flow = flow_of(project, "trainer=xgboost", "gate.min_effect=0.01", "features=digits")
    assert flow.trainer.estimator == "xgboost.XGBClassifier"
    assert flow.gate.min_effect == 0.01
    assert flow.model == "digits"


def test_a_key_that_no_file_writes_can_be_set_because_the_type_has_it(project: Path) -> None:
    assert flow_of(project, "gate.rounds=50").gate.rounds == 50
    assert flow_of(project, "+gate.rounds=50").gate.rounds == 50


def test_a_group_that_is_null_can_be_filled_by_one_key(project: Path) -> None:
    assert flow_of(project, "trainer.search.trials=5").trainer.search == Search(trials=5)


def test_free_parameters_take_any_key(project: Path) -> None:
    params = flow_of(
        project, "trainer=xgboost", "trainer.params.max_depth=3", "trainer.params.eta=1e-3"
    ).trainer.params
    assert params == {"max_depth": 3, "eta": 0.001}


def test_a_key_of_free_parameters_can_be_taken_away(project: Path) -> None:
    flow = flow_of(project, "trainer=xgboost", "~trainer.params.max_depth")
    assert flow.trainer.params == {}


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("6h", timedelta(hours=6)),
        ("1.5h", timedelta(minutes=90)),
        ("2w", timedelta(weeks=2)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("250ms", timedelta(milliseconds=250)),
        ("0", timedelta(0)),
    ],
)
def test_durations_are_written_with_their_unit(
    project: Path, text: str, duration: timedelta
) -> None:
    assert flow_of(project, f"features.label_delay={text}").features.label_delay == duration


def test_the_settings_hold_absolute_paths(project: Path) -> None:
    settings = compose(project=project).settings
    assert settings.home == str(project / ".ratchet")
    assert settings.artifacts == f"{project}/.ratchet/artifacts"
    assert settings.store.url == f"sqlite:///{project}/.ratchet/ratchet.db"
    assert settings.feature_store.uri == f"{project}/.ratchet/features"


def test_relative_paths_start_at_the_project(project: Path) -> None:
    settings = compose(
        overrides=["home=state", "artifacts=s3://bucket/a", "feature_store.uri=data/lake"],
        project=project,
    ).settings
    assert settings.home == f"{project}/state"
    assert settings.artifacts == "s3://bucket/a"
    assert settings.feature_store.uri == f"{project}/data/lake"


def test_the_home_comes_from_the_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_HOME", "/srv/ratchet")
    assert compose(project=project).settings.home == "/srv/ratchet"


def test_a_setting_can_be_chosen_by_name(project: Path) -> None:
    assert compose(overrides=["executor=threads"], project=project).settings.executor is (
        ExecutorName.THREADS
    )


def test_of_several_overrides_of_a_key_the_last_wins(project: Path) -> None:
    assert flow_of(project, "gate.rounds=1", "gate.rounds=2", "gate.rounds=1").gate.rounds == 1
    assert flow_of(project, "gate=strict", "gate=default").gate.min_effect == 0.0


# A project of one's own


def test_a_projects_file_wins_over_ratchets_of_the_same_name(project: Path) -> None:
    write(project, **{"alerts/none": "urls: ['json://example.org/hook']"})
    assert compose(project=project).settings.alerts.urls == ("json://example.org/hook",)


def test_a_projects_own_config_builds_on_ratchets(project: Path) -> None:
    write(
        project,
        config="""
            defaults:
              - ratchet
              - override alerts: apprise
              - _self_
            flows: [elec_flow.nightly]
            executor: threads
            """,
    )
    settings = nightly(project).settings
    assert settings.flows == ("elec_flow.nightly",)
    assert settings.executor is ExecutorName.THREADS
    assert settings.alerts.urls == ("secret:RATCHET_ALERT_URL",)


def test_a_flows_variant_builds_on_another_and_may_change_settings(project: Path) -> None:
    write(
        project,
        **{
            "flow/weekly": """
                # @package _global_
                defaults:
                  - nightly
                  - override /gate: strict
                  - _self_
                executor: inline
                """
        },
    )
    composed = compose("weekly", Nightly, (), project)
    assert composed.flow is not None
    assert composed.flow.gate.min_effect == 0.05
    assert composed.settings.executor is ExecutorName.INLINE
    assert flow_of(project, "flow=weekly").gate.min_effect == 0.05


def test_the_folder_of_a_project_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s, a "folder" = #1'
    odd.mkdir()
    write(odd, **CONF)
    assert flow_of(odd).model == "elec"


def test_a_missing_project_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere does not exist\.$"):
        compose(project=tmp_path / "nowhere")


def test_ratchets_own_files_are_found_inside_an_installed_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "flows", **{"hydra/main": "defaults: [config, _self_, flow: null]"})
    write(tmp_path / "flows", config="home: .ratchet", **{"flow/empty": "{}"})
    monkeypatch.setattr(sources, "_FLOWS", tmp_path / "flows")
    project = tmp_path / "project"
    project.mkdir()
    assert sources.config_path(project).folders == (tmp_path / "flows" / "conf",)
    assert sources.config_path(project).groups() == ("flow",)


# Mistakes


def test_a_typo_in_a_key_names_the_nearest(project: Path) -> None:
    assert refusal(project, "gate.min_efect=0.01") == (
        "There is no setting gate.min_efect (override gate.min_efect=0.01): "
        "did you mean gate.min_effect? | use gate.min_effect"
    )


def test_a_plus_does_not_slip_past_the_schema(project: Path) -> None:
    assert refusal(project, "+gate.nope=1") == (
        "There is no setting gate.nope (override +gate.nope=1): "
        "gate has confidence, metric, min_effect, paired, rounds, slices. | None"
    )
    assert "There is no setting nope" in refusal(project, "++nope=1")
    assert "There is no setting gate.1 (override gate={1: 2})" in refusal(project, "gate={1: 2}")


def test_a_key_without_its_group_names_the_whole_path(project: Path) -> None:
    assert "did you mean gate.min_effect?" in refusal(project, "min_effect=0.1")


def test_a_typo_in_a_group_names_the_nearest(project: Path) -> None:
    assert "There is no setting trianer" in refusal(project, "trianer=xgboost")
    assert "did you mean trainer?" in refusal(project, "trianer=xgboost")
    assert "did you mean gate.min_effect?" in refusal(project, "gaet.min_effect=1")


def test_a_typo_in_a_choice_names_the_nearest_and_lists_all(project: Path) -> None:
    line = refusal(project, "gate=strct")
    assert line.startswith("There is no gate=strct: did you mean strict? The choices are default,")
    assert line.endswith("| use gate=strict")


def test_an_unknown_flow_config_names_the_nearest(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no flow=nightyl: did you mean nightly\?"):
        compose("nightyl", Nightly, (), project)


def test_a_flow_without_a_config_file_is_told_which_to_write_and_how_it_begins(
    project: Path,
) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("weekly_report", Nightly, (), project)
    assert caught.value.hint == (
        "use one of these, or write conf/flow/weekly_report.yaml, "
        "with # @package _global_ as its first line"
    )


def test_a_flow_file_that_sets_keys_below_flow_is_told_its_first_line(project: Path) -> None:
    write(project, **{"flow/nightly": "rounds: 3\n"})
    line = refusal(project)
    assert "its first line is not # @package _global_" in line
    assert "begin the flow's file in conf/flow with" in line


def test_a_list_in_the_place_of_a_mapping_names_the_file(project: Path) -> None:
    write(project, config="defaults: [ratchet, _self_]\nschedules: [1, 2]")
    line = refusal(project)
    assert line.startswith("conf/config.yaml cannot be merged: ")
    assert line.endswith("a list, or a mapping (key: value), as the file before has it")


def test_a_secret_of_the_web_hook_in_plain_text_is_refused(project: Path) -> None:
    line = refusal(project, "api.webhook_secret=hunter2")
    assert line.startswith("api.webhook_secret holds a secret in plain text")
    assert "hunter2" not in line


def test_a_typo_in_a_defaults_list_names_the_file(project: Path) -> None:
    write(project, **{"flow/nightly": CONF["flow/nightly"].replace("elec", "elecc")})
    line = refusal(project)
    assert "There is no config file features/elecc.yaml (conf/flow/nightly.yaml)" in line
    assert "did you mean elec?" in line


def test_a_typo_in_a_file_names_file_and_line(project: Path) -> None:
    write(project, **{"gate/default": "# the gate\n\nmin_efect: 0.1"})
    assert refusal(project) == (
        "There is no setting gate.min_efect (conf/gate/default.yaml, line 3): "
        "did you mean gate.min_effect? | use gate.min_effect"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("gate.min_effect=high", 'gate.min_effect must be a number, not the text "high"'),
        ("gate.rounds=2.5", "gate.rounds must be a whole number, not 2.5"),
        ("gate.rounds=true", "gate.rounds must be a whole number, not true"),
        ("gate.paired='true'", 'gate.paired must be true or false, not the text "true"'),
        ("gate.paired=1", "gate.paired must be true or false, not 1"),
        ("gate.slices=a", 'gate.slices must be a list of texts, not the text "a"'),
        ("gate.metric=auc", "gate.metric must be one of accuracy, log_loss"),
        ("features.label_delay=7", "features.label_delay must be a duration such as 90s"),
        ("features.label_delay=soon", "features.label_delay must be a duration such as 90s"),
        ("features.view=7", "features.view must be text, not 7"),
        ("trainer.search.trials=many", "trainer.search.trials must be a whole number"),
        ("trainer.params=3", "trainer.params must be a mapping, not 3"),
        ("gate.slices=[a,1]", "gate.slices.1 must be text, not 1"),
        ("trainer.space.a={low:x,high:1}", "trainer.space.a.low must be a number"),
        ("trainer.space.a=3", "trainer.space.a must be a list or a group of keys (low, high)"),
        ("executor=ray2", "executor must be one of inline, threads, processes, ray"),
    ],
)
def test_a_value_of_the_wrong_type_names_key_type_and_override(
    project: Path, override: str, said: str
) -> None:
    line = refusal(project, override)
    assert line.startswith(said)
    assert f"(override {override})." in line


def test_a_value_of_the_wrong_type_in_a_file_names_file_and_line(project: Path) -> None:
    write(project, **{"features/elec": "view: elec\nlabel_delay: seven days"})
    assert "(conf/features/elec.yaml, line 2)." in refusal(project)


def test_a_dataclasses_own_check_is_passed_on(project: Path) -> None:
    assert refusal(project, "gate.min_effect=-1") == (
        "gate (override gate.min_effect=-1): a minimum effect is never negative | None"
    )


def test_a_mandatory_value_that_is_missing_is_named(project: Path) -> None:
    write(project, **{"features/elec": "view: ???"})
    assert refusal(project) == (
        "features.view is missing (conf/features/elec.yaml, line 1): it must be text. "
        "| set it in a config file, or as features.view=..."
    )


def test_a_mandatory_key_that_nobody_wrote_is_named(project: Path) -> None:
    write(project, **{"features/elec": "label_delay: 1d"})
    assert "features.view" in refusal(project, "model=m")
    assert "is missing" in refusal(project, "model=m")


def test_broken_yaml_names_file_line_and_column(project: Path) -> None:
    write(project, **{"gate/default": "min_effect: 0.0\nslices: [a\nrounds: 3"})
    line = refusal(project)
    assert line.startswith("conf/gate/default.yaml is not valid YAML: ")
    assert "in line 3, column" in line


def test_a_key_written_twice_names_the_line(project: Path) -> None:
    write(project, **{"gate/default": "rounds: 1\nrounds: 2"})
    assert "conf/gate/default.yaml is not valid YAML: found duplicate key rounds in line 2" in (
        refusal(project)
    )


def test_a_file_that_is_a_list_is_refused(project: Path) -> None:
    write(project, **{"gate/default": "- 1\n- 2"})
    assert refusal(project).startswith("gate must be a group of keys (")


def test_an_unfinished_interpolation_names_file_and_line(project: Path) -> None:
    write(project, **{"gate/default": "rounds: 3\nmin_effect: ${model"})
    assert refusal(project).startswith(
        "The interpolation ${model cannot be read (conf/gate/default.yaml, line 2)."
    )


def test_a_file_that_is_not_text_is_named(project: Path) -> None:
    (project / "conf" / "gate" / "default.yaml").write_bytes(b"\xff\xfe")
    assert refusal(project).startswith("conf/gate/default.yaml is not UTF-8 text.")


def test_a_defaults_list_that_is_no_list_is_refused(project: Path) -> None:
    write(project, **{"gate/default": "defaults: 3"})
    assert "Invalid defaults list in 'gate/default'" in refusal(project)


def test_a_number_that_is_not_finite_is_refused(project: Path) -> None:
    assert refusal(project, "gate.min_effect=nan").startswith(
        "gate.min_effect must be a finite number, not nan (override gate.min_effect=nan)."
    )


def test_choosing_nothing_in_a_group_says_how_to_leave_it_out(project: Path) -> None:
    assert "gate=null chooses nothing. | write ~gate" in refusal(project, "gate=null")
    assert flow_of(project, "~gate").gate == Gate()


def test_the_project_folder_is_no_override(project: Path) -> None:
    assert "project is no setting to override" in refusal(project, "project=elsewhere")


def test_a_wrong_value_is_blamed_where_it_was_given_not_where_it_was_copied(
    project: Path,
) -> None:
    assert refusal(project, "features.view=7").startswith("features.view must be text, not 7")


def test_an_unset_environment_variable_is_named(project: Path) -> None:
    line = refusal(project, "model=${oc.env:RATCHET_TEST_UNSET}")
    assert "Environment variable 'RATCHET_TEST_UNSET' not found" in line
    assert "${oc.env:NAME,default}" in line


def test_a_password_in_a_refused_override_is_masked(project: Path) -> None:
    line = refusal(project, "store.url=['postgresql://me:hunter2@db/x']")
    assert "hunter2" not in line


@pytest.mark.parametrize("override", ["gate.min_effect=a:b:{", "gate.slices=[a", "=3", "gate"])
def test_an_override_that_cannot_be_read_is_shown(project: Path, override: str) -> None:
    assert f'"{override}"' in refusal(project, override)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("workers.threads=-1", "workers.threads is -1, and at least 1 is needed"),
        ("workers.processes=-2", "workers.processes is -2, and at least 1 is needed"),
        ("ray.heartbeat_s=0", "ray (override ray.heartbeat_s=0): heartbeat_s must be above 0"),
        ("ray.unreachable_s=-1", "ray (override ray.unreachable_s=-1): heartbeat_s must be above"),
    ],
)
def test_numbers_with_which_nothing_would_ever_run_are_refused(
    project: Path, override: str, reason: str
) -> None:
    assert refusal(project, override).startswith(reason)


def test_an_override_with_several_values_points_to_the_sweep(project: Path) -> None:
    assert "names several values, and a run takes one" in refusal(project, "gate.rounds=1,2")
    assert "add -m" in refusal(project, "gate=default,strict")


def test_an_interpolation_of_an_unknown_key_names_the_nearest(project: Path) -> None:
    line = refusal(project, "model=${features.vew}")
    assert line.startswith("model cannot be resolved: Interpolation key 'features.vew' not found")
    assert "(override model=${features.vew})" in line
    assert line.endswith("did you mean ${features.view}?")


def test_an_unknown_resolver_lists_the_known(project: Path) -> None:
    assert "${secret:NAME}" in refusal(project, "model=${nope:1}")


def test_a_group_that_the_flow_does_not_choose_says_how_to_choose_it(project: Path) -> None:
    write(project, **{"flow/nightly": "# @package _global_\nmodel: m\nfeatures: {view: v}"})
    line = refusal(project, "gate=strict")
    assert "gate is not chosen in any defaults list" in line
    assert "write +gate=" in line
    assert flow_of(project, "+gate=strict").gate.min_effect == 0.05


def test_a_setting_of_a_flow_is_unknown_where_there_is_no_flow(project: Path) -> None:
    with pytest.raises(ConfigError, match="There is no setting gate"):
        compose(overrides=["gate=strict"], project=project)


def test_a_flow_config_may_not_reuse_the_name_of_a_setting(project: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Clash:
        registry: str = ""

    with pytest.raises(ConfigError, match=r"Clash\.registry has the name of a setting"):
        compose(None, Clash, (), project)


# What may be named, and by whom


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("trainer.estimator=os.system", "trainer.estimator"),
        ("trainer.estimator=sklearnish.Model", "trainer.estimator"),
        ("features.functions=['shutil:rmtree']", "features.functions.0"),
        ("trainer.params._target_=builtins.open", "trainer.params._target_"),
        ("trainer.params.inner={_target_:joblib.load}", "trainer.params.inner._target_"),
    ],
)
def test_a_dotted_path_outside_the_allowed_modules_is_refused(
    project: Path, override: str, key: str
) -> None:
    line = refusal(project, override)
    assert line.startswith(f"{key} names ")
    assert "which is not in an allowed module" in line
    assert "allowed_modules: [" in line


def test_modules_that_the_project_declares_are_allowed(project: Path) -> None:
    path = "features.functions=['elec.features:lags']"
    assert "allowed_modules: [elec]" in refusal(project, path)
    assert flow_of(project, path, "allowed_modules=[elec]").features.functions
    assert flow_of(project, path, "flows=[elec.flows]").features.functions


@pytest.mark.parametrize(
    "override",
    [
        "allowed_modules=[os]",
        "registry.ledger_url=x",
        "++flows=[evil]",
        "ray=x",
        "+gate@registry=strict",
    ],
)
def test_an_override_of_a_run_may_not_change_a_setting(override: str) -> None:
    with pytest.raises(ConfigError, match="is a setting of the installation"):
        check_own([override])


@pytest.mark.parametrize(
    "override",
    [
        "model='${oc.env:HOME}'",
        r"model=$\{oc.env:HOME\}",
        r"trainer={params: {x: [$\{oc.env:HOME\}]}}",
        "gate={slices: ['${oc.env:HOME}']}",
    ],
)
def test_an_override_of_a_run_may_not_read_the_environment(override: str) -> None:
    with pytest.raises(ConfigError, match=r"^\w+ may not be an interpolation here\.$"):
        check_own([override])


# Secrets


def test_a_secret_stays_a_reference_in_everything_that_is_stored(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_PASSWORD", "hunter2")
    composed = nightly(project, "store.url='postgresql://me:${secret:PG_PASSWORD}@db/ratchet'")
    assert composed.settings.store.url == "postgresql://me:secret:PG_PASSWORD@db/ratchet"
    assert "hunter2" not in composed.yaml + json.dumps(composed.data)
    assert reveal(composed.settings.store.url) == "postgresql://me:hunter2@db/ratchet"


def test_a_secret_from_the_environment_is_refused_with_the_better_way(project: Path) -> None:
    line = refusal(project, "model='${oc.env:DB_PASSWORD}'")
    assert line.startswith("model would store the secret DB_PASSWORD with the run")
    assert "write ${secret:DB_PASSWORD}" in line
    assert "API_TOKEN" in refusal(project, "model='x-${oc.env:API_TOKEN,none}'")


def test_a_password_in_plain_text_is_refused(project: Path) -> None:
    line = refusal(project, "store.url='postgresql://me:hunter2@db/ratchet'")
    assert line.startswith("store.url holds a password in plain text")
    assert "${secret:NAME}" in line


def test_a_secret_without_a_proper_name_is_refused(project: Path) -> None:
    assert "is no name of a secret" in refusal(project, "model='${secret:not-a-name}'")


# The stored config


def test_a_stored_config_gives_the_same_again_without_hydra(project: Path) -> None:
    composed = nightly(project, "trainer=xgboost", "trainer.search={trials:3}", "gate=strict")
    assert load(composed.yaml, Nightly) == composed


def test_a_task_finds_its_settings_in_the_config_of_its_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_URL", "http://me:pw@mlflow")
    overrides = [
        "alerts=apprise",
        "executor=threads",
        "registry.tracking_uri='${secret:MLFLOW_URL}'",
    ]
    composed = nightly(project, *overrides)
    config = json.loads(dumps(composed.settings)) | json.loads(dumps(composed.flow))
    settings = Settings.of(config)
    assert settings.registry.tracking_uri == "http://me:pw@mlflow"
    assert settings.alerts.urls == ("secret:RATCHET_ALERT_URL",)  # which no task needs
    assert replace(settings, registry=composed.settings.registry) == composed.settings


def test_a_stored_config_writes_out_every_default(project: Path) -> None:
    data = nightly(project).data
    assert data["gate"]["rounds"] == 1000
    assert data["features"]["label_delay"] == "7d"
    assert data["trainer"]["search"] is None


def test_a_stored_config_that_does_not_fit_any_more_is_refused(project: Path) -> None:
    text = nightly(project).yaml.replace("rounds: 1000", "round: 1000")
    with pytest.raises(ConfigError, match=r"There is no setting gate\.round: did you mean"):
        load(text, Nightly)
    with pytest.raises(ConfigError, match="The stored config is not YAML"):
        load("a: [", Nightly)


def test_a_difference_names_key_old_and_new(project: Path) -> None:
    old = nightly(project).yaml
    new = nightly(project, "gate.min_effect=0.01", "trainer.params.C=2").yaml
    assert diff(old, new) == [
        ("trainer.params.C", None, 2),
        ("gate.min_effect", 0.0, 0.01),
    ]
    assert diff(old, old) == []


def test_the_digest_is_the_same_wherever_the_project_lies(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "somewhere" / "else"
    for folder in (first, second):
        write(folder, **CONF)
    assert nightly(first).digest == nightly(second).digest
    assert nightly(first, "home=/srv/x").digest == nightly(first, "home=/srv/y").digest


def test_the_digest_does_not_depend_on_the_order_of_keys(project: Path) -> None:
    a = nightly(project, "trainer.params={a:1,b:2}")
    b = nightly(project, "trainer.params={b:2,a:1}")
    assert a.digest == b.digest


def test_the_digest_changes_with_what_is_computed_only(project: Path) -> None:
    base = nightly(project).digest
    assert nightly(project, "gate.min_effect=0.01").digest != base
    assert nightly(project, "feature_store.uri=other").digest != base
    assert nightly(project, "executor=inline", "workers.threads=3").digest == base


def test_a_whole_number_for_a_float_is_the_same_config(project: Path) -> None:
    by_default = nightly(project)
    given = nightly(project, "gate.confidence=1", "trainer.weight=1")
    assert given.yaml == by_default.yaml
    assert given.digest == by_default.digest


# Sweeps


def test_a_sweep_is_the_product_of_its_values(project: Path) -> None:
    assert expand(["trainer.params.max_depth=3,5", "gate=strict", "gate.rounds=1,2"], project) == [
        ["trainer.params.max_depth=3", "gate=strict", "gate.rounds=1"],
        ["trainer.params.max_depth=3", "gate=strict", "gate.rounds=2"],
        ["trainer.params.max_depth=5", "gate=strict", "gate.rounds=1"],
        ["trainer.params.max_depth=5", "gate=strict", "gate.rounds=2"],
    ]


@pytest.mark.parametrize(
    ("sweep", "runs"),
    [
        ("gate.rounds=choice(1,2)", ["gate.rounds=1", "gate.rounds=2"]),
        ("gate.rounds=range(0,6,2)", ["gate.rounds=0", "gate.rounds=2", "gate.rounds=4"]),
        ("features=glob(el*)", ["features=elec"]),
        ("model='a,b','c'", ["model='a,b'", "model='c'"]),
        ("gate.slices=[a,b]", ["gate.slices=[a,b]"]),
        ("gate.slices=[a],[b]", ["gate.slices=[a]", "gate.slices=[b]"]),
    ],
)
def test_hydras_sweeps_are_expanded(project: Path, sweep: str, runs: list[str]) -> None:
    assert expand([sweep], project) == [[run] for run in runs]


def test_no_overrides_are_one_run(project: Path) -> None:
    assert expand([], project) == [[]]


def test_every_run_of_a_sweep_composes(project: Path) -> None:
    runs = expand(["model='a,b',c", "gate=default,strict"], project)
    assert [flow_of(project, *run).model for run in runs] == ["a,b", "a,b", "c", "c"]


def test_a_sweep_without_end_or_value_is_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match="has no end"):
        expand(["gate.min_effect=interval(0,1)"], project)
    with pytest.raises(ConfigError, match="stands for no value"):
        expand(["features=glob(zzz*)"], project)


# Around it


def test_threads_may_compose_at_once(project: Path) -> None:
    def one(i: int) -> int:
        return flow_of(project, f"gate.rounds={i}").gate.rounds

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(16))) == list(range(16))


def test_an_applications_own_hydra_is_left_alone(project: Path) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(project / "conf"), version_base="1.3"):
        assert flow_of(project).model == "elec"
        assert hydra_compose("gate/strict").gate.min_effect == 0.05


def test_importing_the_config_is_light() -> None:
    heavy = ("ray", "mlflow", "sklearn", "pandas", "hydra", "omegaconf", "torch", "deltalake")
    code = f"import sys, flows.config; print([m for m in {heavy!r} if m in sys.modules])"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


BASE = "defaults: [ratchet, _self_]\n"


def test_text_that_yaml_reads_as_something_else_is_to_be_put_in_quotes(project: Path) -> None:
    write(project, config=BASE + "schedules: {dl: {flow: nightly, by: 18:30}}\n")
    said = refusal(project)
    assert "schedules.dl.by must be text or null, not 1110" in said
    assert '| put it in quotes, as "18:30"' in said


def test_a_name_that_yaml_reads_as_true_or_false_is_refused(project: Path) -> None:
    write(project, config=BASE + "schedules:\n  no: {flow: nightly}\n")
    assert refusal(project).startswith("A name below schedules is read as false (")


def test_a_number_of_the_environment_is_to_be_decoded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPUS", "2")
    write(project, config=BASE + "workers: {threads: '${oc.env:CPUS}'}\n")
    said = refusal(project)
    assert 'workers.threads must be a whole number or null, not the text "2"' in said
    assert said.endswith("${oc.decode:${oc.env:NAME}}")


def test_a_config_without_ratchets_own_says_how_to_begin_it(project: Path) -> None:
    write(project, config="executor: threads")
    assert refusal(project).endswith("| begin conf/config.yaml with: defaults: [ratchet, _self_]")

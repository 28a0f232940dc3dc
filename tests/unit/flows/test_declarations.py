"""What is declared, in config and beside flows; and that one mistake stops nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from flows.config import Composer, compose, load
from flows.core.errors import ConfigError, NotFound
from flows.core.flow import Flow, flow, task
from flows.core.pool import Pool, Rate
from flows.core.schedule import (
    Cron,
    Deadline,
    Interval,
    Missed,
    NewData,
    OnAsset,
    OnRequest,
    Overlap,
    Schedule,
)
from flows.core.service import Flows
from flows.declarations import Compose, Declared, check, declared, to_schedule
from flows.retrain import retrain
from flows.settings import PoolConfig, ScheduleConfig, Settings

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)


def settings_of(project: Path, **settings: object) -> Settings:
    file = project / "conf" / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))
    return compose(None, None, (), project).settings


def known(*flows: Flow) -> Flows:
    found = Flows(lambda path: pytest.fail(path))
    for each in flows:
        found.add(each)
    return found


def read(project: Path, *flows: Flow, **schedules: object) -> Declared:
    return declared(settings_of(project, schedules=schedules), known(*flows))


def composer(project: Path) -> Compose:
    composer = Composer(project=project)
    return lambda flow, overrides: composer.compose(
        flow.config, flow.config_type, flow_only=overrides
    )


@task
def one() -> int:
    return 1


def test_each_kind_of_trigger_can_be_written_in_a_config(project):
    found = read(
        project,
        retrain,
        nightly={
            "flow": "retrain", "cron": "0 3 * * *", "zone": "Europe/Berlin", "missed": "all",
            "overrides": ["trainer=xgboost"], "grace": "6h", "overlap": "cancel", "priority": 7,
            "deadline": "2h",
        },
        on_data={
            "flow": "retrain", "new_data": "digits", "min_rows": 100, "settle": "10s",
            "max_wait": "1h",
        },
        after_features={"flow": "retrain", "asset": "table:sales"},
        by_six={"flow": "retrain", "by": "06:00", "zone": "Europe/Berlin", "confidence": 0.9},
        hook={"flow": "retrain", "on_request": True},
        hourly={"flow": "retrain", "every": "1h"},
    )  # fmt: skip
    assert found.problems == {}
    by_name = {schedule.name: schedule for schedule in found.schedules}
    assert list(by_name) == sorted(by_name)
    assert by_name["nightly"] == Schedule(
        name="nightly", flow="retrain", trigger=Cron(cron="0 3 * * *", zone="Europe/Berlin"),
        overrides=("trainer=xgboost",), missed=Missed.ALL, grace=timedelta(hours=6),
        overlap=Overlap.CANCEL, priority=7, deadline=timedelta(hours=2), origin="config",
    )  # fmt: skip
    assert {name: schedule.trigger for name, schedule in by_name.items() if name != "nightly"} == {
        "on_data": NewData(
            view="digits", min_rows=100, settle=timedelta(seconds=10), max_wait=timedelta(hours=1)
        ),
        "after_features": OnAsset(asset="table:sales"),
        "by_six": Deadline(by="06:00", zone="Europe/Berlin", confidence=0.9),
        "hook": OnRequest(),
        "hourly": Interval(every=timedelta(hours=1)),
    }


@pytest.mark.parametrize(
    ("keys", "problem", "hint"),
    [
        ({}, "schedule s: it takes one trigger, and has none", "one of cron, every, new_data"),
        ({"on_request": False}, "takes one trigger, and has none", "on_request"),
        ({"cron": "@daily", "by": "06:00"}, "it takes one trigger, and has cron and by", ""),
        ({"cron": "@daily", "min_rows": 3}, "min_rows is no key of a schedule with cron", "zone"),
        ({"new_data": "v", "zone": "UTC"}, "zone is no key of a schedule with new_data", "settle"),
        ({"on_request": True, "days": "1"}, "days is no key", "no other keys"),
    ],
)
def test_a_config_that_fits_no_trigger_is_refused_in_one_line(keys, problem, hint):
    with pytest.raises(ConfigError) as refused:
        to_schedule("s", ScheduleConfig(flow="retrain", **keys))
    assert problem in str(refused.value)
    assert hint in (refused.value.hint or "")


def test_a_misspelt_key_names_the_file_and_the_key_that_was_meant(project):
    with pytest.raises(ConfigError, match=r"no setting schedules\.s\.corn .*schedules\.s\.cron"):
        settings_of(project, schedules={"s": {"flow": "retrain", "corn": "@daily"}})


def test_one_that_makes_no_schedule_is_told_by_name_and_the_rest_is_declared(project):
    found = read(
        project,
        retrain,
        good={"flow": "retrain", "every": "1h"},
        two={"flow": "retrain", "every": "1h", "cron": "@daily"},
    )
    assert [schedule.name for schedule in found.schedules] == ["good"]
    assert set(found.problems) == {"two"}


@pytest.mark.parametrize(
    ("changes", "problem", "hint"),
    [
        ({"flow": "retrian"}, "there is no flow 'retrian'", "did you mean retrain?"),
        ({"flow": "x"}, "there is no flow 'x'", "known: retrain"),
        ({"overrides": ("trainr=xgboost",)}, "no setting trainr", "use trainer"),
        ({"overrides": ("trainer=xgbost",)}, "no trainer=xgbost: did you mean xgboost", "use"),
        ({"overrides": ("executor=ray",)}, "executor is a setting of the installation", "conf/"),
        ({"overrides": ("model=${oc.env:HOME}",)}, "may not be an interpolation", "value itself"),
        ({"overrides": ("again={at:%Y}",)}, "again must be true or false, not 2026", ""),
    ],
)
def test_what_no_run_could_be_made_of_is_refused_before_it_fires(project, changes, problem, hint):
    good = Schedule(name="s", flow="retrain", trigger=OnRequest(), overrides=("model=d_{at:%d}",))
    check(good, known(retrain), composer(project), NOW)
    with pytest.raises((ConfigError, NotFound)) as refused:
        check(replace(good, **changes), known(retrain), composer(project), NOW)
    assert str(refused.value).startswith("schedule s: ")
    assert problem in str(refused.value)
    assert hint in (refused.value.hint or "")


def test_a_flow_declares_schedules_beside_itself(project):
    @flow(
        schedules={
            "nightly": Cron(cron="0 3 * * *"),
            "fed": Schedule(trigger=OnAsset(asset="table:sales"), missed=Missed.ALL),
        },
        max_runs=1,
        priority=5,
    )
    def beside() -> None:
        one()

    assert (beside.max_runs, beside.priority) == (1, 5)
    nightly, fed = beside.schedules
    assert nightly == Schedule(
        name="nightly", flow="beside", trigger=Cron(cron="0 3 * * *"), origin=beside.source
    )
    assert (fed.name, fed.flow, fed.missed) == ("fed", "beside", Missed.ALL)
    assert read(project, beside).schedules == (fed, nightly)


def test_two_schedules_of_one_name_are_both_refused(project):
    @flow(schedules={"nightly": Cron(cron="0 3 * * *")})
    def twice() -> None:
        one()

    found = read(project, twice, retrain, nightly={"flow": "retrain", "every": "1h"})
    assert found.schedules == ()
    assert str(found.problems["nightly"]) == (
        f"two schedules are called nightly: of config and of {twice.source}"
    )


@pytest.mark.parametrize(
    ("schedules", "problem"),
    [
        ({"s": "0 3 * * *"}, "schedule s of flow lonely is '0 3 \\* \\* \\*', which is no trigger"),
        ({"s": Schedule(name="t", trigger=OnRequest())}, "names itself t"),
        ({"s": Schedule(flow="other", trigger=OnRequest())}, "of flow other"),
    ],
)
def test_what_stands_beside_a_flow_and_does_not_belong_there_is_refused(schedules, problem):
    with pytest.raises(ConfigError, match=problem):

        @flow(schedules=schedules)
        def lonely() -> None:
            one()


def test_a_flow_lets_at_least_one_run_run():
    with pytest.raises(ConfigError, match="max_runs is at least 1, not 0"):

        @flow(max_runs=0)
        def never() -> None:
            one()


def test_pools_are_read_from_the_config(project):
    pools = {"gpu": {"slots": 2}, "api": {"rate": "10/1m"}}
    assert settings_of(project, pools=pools).limits() == {
        "gpu": Pool(name="gpu", slots=2),
        "api": Pool(name="api", rate=Rate(count=10, per=timedelta(minutes=1))),
    }


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (PoolConfig(slots=0), "pool gpu has 0 slots"),
        (PoolConfig(rate="often"), "pool gpu: 'often' is no rate"),
    ],
)
def test_a_pool_that_admits_nothing_is_refused_by_its_name(project, config, problem):
    settings = settings_of(project)
    with pytest.raises(ConfigError, match=problem):
        replace(settings, pools={"gpu": config}).limits()


def test_a_run_does_not_keep_the_schedules_of_its_installation(project):
    settings_of(project, schedules={"s": {"flow": "nightly", "cron": "@daily"}})
    composed = compose(None, None, (), project)
    assert "s" in composed.settings.schedules
    assert load(composed.yaml).settings == composed.settings.for_runs()

"""Values that a model cannot take, and batches that came twice."""

from __future__ import annotations

import numpy as np
import pytest

from tests.field.project import Project, day, with_values

ENCODER = """
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    def pipeline():
        encoder = ColumnTransformer([("plan", OneHotEncoder(), ["plan"])], remainder="passthrough")
        return make_pipeline(encoder, LogisticRegression())
    """


@pytest.mark.parametrize("rows", [[3, 17], [380, 390]], ids=["old rows", "newest rows"])
def test_an_infinity_is_named_and_the_next_good_night_goes_on(
    project: Project, rows: list[int]
) -> None:
    bad = day(1)["ratio"].to_pylist()
    for row in rows:
        bad[row] = np.inf if row % 2 else -np.inf
    assert project.create(day(1, ratio=bad)).code == 0
    answer = project.night()
    assert answer.code == 3
    assert answer.says("ratio", "2 ")
    assert project.append(day(2)).code == 0
    assert project.night().says("promote: Version 1 is the first model")


def test_a_plan_that_the_training_never_saw_stops_no_night(project: Project) -> None:
    project.write("shop_plans.py", ENCODER)
    project.write("conf/trainer/plans.yaml", PLANS)
    plans = ["A", "B"] * 200
    assert project.create(day(1, plan=plans)).code == 0
    assert project.night(trainer="plans").says("promote: Version 1")
    new = with_values(day(2, plan=plans), "plan", {390: "C", 20: "C"})
    assert project.append(new).code == 0
    answer = project.night(trainer="plans")
    assert answer.code in (0, 3)
    assert answer.says("verdict: ", "plan", "C")
    assert "rollback" not in answer.text


PLANS = """
    kind: sklearn
    estimator: shop_plans:pipeline
    params: {}
    seed: 0
    num_cpus: 1
    """


def test_missing_values_are_counted_and_set_aside(project: Project) -> None:
    bad = [None if row < 40 else 1.0 for row in range(400)]
    assert project.create(day(1)).code == 0
    assert project.night().code == 0
    assert project.append(day(2, visits=bad)).code == 0
    answer = project.night()
    assert answer.code == 3
    assert answer.says("column visits: 10.0 % null in the new rows, allowed 0.0 %")
    assert project.ratchet("features", "show", "churn").says("in quarantine")
    assert project.append(day(3)).code == 0
    assert project.night().says("on 240 rows")


def test_the_same_batch_twice_is_told(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.append(day(2)).code == 0
    answer = project.append(day(2))
    night = project.night()
    assert night.code == 3
    assert night.says("duplicate")
    assert answer.code == 0


def test_the_same_batch_under_one_key_is_appended_once(project: Project) -> None:
    assert project.create(day(1)).code == 0
    for _ in range(2):
        assert project.append(day(2), "--key", "day 2").says("version 2")
    assert project.stored().num_rows == 800


def test_a_constant_label_of_noise_is_not_promoted(project: Project) -> None:
    noise = np.random.default_rng(0).integers(0, 2, 400)
    assert project.create(day(1, left=noise)).code == 0
    answer = project.night()
    assert answer.code == 3
    assert answer.says("hold: Version 1")


def test_one_row_of_a_third_class_does_not_stop_the_default_trainer(project: Project) -> None:
    rows = day(1, 16_000)
    labels = rows["left"].to_pylist()
    labels[5] = 2
    assert project.create(day(1, 16_000, left=labels)).code == 0
    answer = project.night(trainer="sklearn")
    assert answer.code in (0, 3)
    assert answer.says("verdict: ")


def test_text_columns_and_odd_names_train_xgboost(project: Project) -> None:
    rows = day(1, plan=["A", "B"] * 200)
    odd = rows.rename_columns(["customer", "at", "price[usd]", "age<30", "visits", "left", "plan"])
    assert project.create(odd).code == 0
    answer = project.night(trainer="xgboost")
    assert answer.code in (0, 3)
    assert answer.says("verdict: ")


def test_labels_that_are_missing_are_counted(project: Project) -> None:
    labels = [None if row < 100 else row % 2 for row in range(400)]
    assert project.create(day(1, left=labels)).code == 0
    answer = project.night()
    assert answer.code == 3
    assert answer.says("column left: 25.0 % null")

"""Estimators of people's own."""

from __future__ import annotations

import numpy as np

from tests.field.project import VIEW, Project, day

TRAINER = """
    kind: sklearn
    estimator: {path}
    params: {{}}
    seed: 0
    num_cpus: 1
    """
HELPED = """
    from shop_steps import Doubled
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def pipeline():
        return make_pipeline(Doubled(), LogisticRegression())
    """
STEPS = """
    from sklearn.base import BaseEstimator, TransformerMixin

    class Doubled(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return X * 2
    """
LAMBDA = """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    def pipeline():
        return make_pipeline(FunctionTransformer(lambda x: x), LogisticRegression())
    """
CRASHES = """
    from sklearn.linear_model import LogisticRegression

    class Crashes(LogisticRegression):
        def fit(self, X, y):
            return [][len(X)]
    """
COUNTS = """
    from sklearn.linear_model import PoissonRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def pipeline(alpha=0.01):
        return make_pipeline(StandardScaler(), PoissonRegressor(alpha=alpha))
    """


def trained_by(project: Project, path: str) -> None:
    """The trainer `own` builds the estimator at this path."""
    project.write("conf/trainer/own.yaml", TRAINER.format(path=path))


def test_a_step_of_a_helper_module_is_trusted_as_the_builder_is(project: Project) -> None:
    project.write("shop_steps.py", STEPS)
    project.write("shop_helped.py", HELPED)
    trained_by(project, "shop_helped:pipeline")
    assert project.create(day(1)).code == 0
    assert project.night(trainer="own").says("promote: Version 1")
    assert project.append(day(2)).code == 0
    assert project.night(trainer="own").says("verdict: ")


def test_a_lambda_is_named_before_anything_is_fitted_twice(project: Project) -> None:
    project.write("shop_lambda.py", LAMBDA)
    trained_by(project, "shop_lambda:pipeline")
    assert project.create(day(1)).code == 0
    answer = project.night(trainer="own")
    assert answer.code == 1
    assert answer.says("lambda")
    assert "does not answer" not in answer.text
    assert project.attempts("train") == 1


def test_an_error_of_the_users_own_code_fails_once_with_its_line(project: Project) -> None:
    project.write("shop_crashes.py", CRASHES)
    trained_by(project, "shop_crashes.Crashes")
    assert project.create(day(1)).code == 0
    answer = project.night(trainer="own")
    assert answer.code == 1
    assert answer.says("IndexError", "shop_crashes.py")
    assert project.attempts("train") == 1


def test_counts_by_a_builder_are_a_regression(project: Project) -> None:
    project.write("shop_counts.py", COUNTS)
    trained_by(project, "shop_counts:pipeline")
    amounts = np.asarray(day(1)["amount"])
    counts = np.random.default_rng(1).poisson(np.exp(1 + amounts))
    assert project.create(day(1, left=counts)).code == 0
    answer = project.night(
        "gate=regression", "gate.mode=single_night", "gate.bound=40", trainer="own"
    )
    assert answer.says("mae")
    assert "accuracy" not in answer.text


def test_a_feature_function_that_divides_by_zero_is_named(project: Project) -> None:
    project.write(
        "shop_ratios.py",
        """
        def ratio(table):
            values = [1 / number for number in table["visits"].to_pylist()]
            return table.append_column("per_visit", [values])
        """,
    )
    project.write(
        "conf/features/churn.yaml", VIEW.rstrip() + "\n    functions: [shop_ratios:ratio]\n"
    )
    visits = [0.0 if row == 7 else 1.0 for row in range(400)]
    assert project.create(day(1, visits=visits)).code == 0
    answer = project.night()
    assert answer.code == 1
    assert answer.says("shop_ratios", "ZeroDivisionError")
    assert project.attempts("extract") == 1

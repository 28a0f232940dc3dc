"""The cases are typed in this process: the real command says the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.field.project import NIGHT, Answer, Project, day
from tests.field.test_own_code import trained_by

EDITED = """
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    class Signed(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return X * {sign}

    def pipeline():
        return make_pipeline(Signed(), LogisticRegression())
    """

BIN = Path(sys.executable).parent


def typed(project: Project, *words: str) -> Answer:
    """The command as a shell runs it, with the Ray and the processes of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RATCHET_", "RAY_"))}
    done = subprocess.run(
        [str(BIN / "ratchet"), *words],
        cwd=project.folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return Answer(code=done.returncode, text=done.stdout)


def verdict(answer: Answer) -> str:
    """The verdict's line."""
    return next(line for line in answer.text.splitlines() if line.startswith("verdict: "))


def test_a_refused_file_is_refused_in_the_same_words(project: Project) -> None:
    assert project.create(day(1)).code == 0
    rows = project.save(day(2).drop_columns(["amount"]))
    words = ("features", "append", "churn", rows)
    assert typed(project, *words) == project.ratchet(*words)


def test_a_night_comes_to_the_same_verdict(project: Project) -> None:
    assert project.create(day(1)).code == 0
    here = project.night()
    there = typed(project, *NIGHT, "trainer=logistic", "again=true", "model=other")
    assert (here.code, verdict(here)) == (there.code, verdict(there))


def test_a_check_halts_in_the_same_words(project: Project) -> None:
    assert project.create(day(1, visits=[1.0] + [None] * 399)).code == 0
    there = typed(project, *NIGHT, "trainer=logistic")
    here = project.night("model=other")  # the other has set it aside
    assert here.code == there.code == 3
    reasons = [re.findall(r"halted in [^:]*: (.*)", answer.text) for answer in (here, there)]
    assert reasons[0] == reasons[1] != []


def test_an_estimator_edited_after_its_model_went_live_is_noticed(project: Project) -> None:
    project.write("shop_edited.py", EDITED.format(sign=1))
    trained_by(project, "shop_edited:pipeline")
    assert project.create(day(1)).code == 0
    assert project.night(trainer="own").says("promote: Version 1")
    project.write("shop_edited.py", EDITED.format(sign=-1))
    assert project.append(day(2)).code == 0
    answer = typed(project, *NIGHT, "trainer=own")  # a process that has not imported it yet
    assert answer.code in (1, 3)
    assert answer.says("shop_edited")
    assert "promote: Version 2" not in answer.text

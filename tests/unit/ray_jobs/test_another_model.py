"""A kept challenger whose number was given to another model is not judged as the former one."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ray_jobs.gap import TRAIN_UNTIL_TAG
from ray_jobs.samples import _is_another
from registry.methods.comparison import Unusable

AT = datetime(2026, 5, 1, tzinfo=UTC)


def another(said: str | None) -> Unusable | None:
    tags = {} if said is None else {TRAIN_UNTIL_TAG: said}
    model: Any = SimpleNamespace(tags=tags)
    case: Any = SimpleNamespace(trained_until=AT)
    return _is_another(model, case)


@pytest.mark.parametrize("said", [None, AT.isoformat(), "2026-05-01T02:00:00+02:00"])
def test_the_model_that_was_compared_is_judged(said: str | None) -> None:
    assert another(said) is None


def test_a_model_that_was_trained_with_other_rows_is_given_up() -> None:
    found = another("2026-06-01T00:00:00+00:00")
    assert isinstance(found, Unusable)
    assert "another model than the one that was compared" in found

"""A name of a model is refused when it is written, and not after a training."""

from pathlib import Path

import pytest

from registry.errors import InvalidModelName
from registry.locks import exclusive
from registry.names import check_model_name


@pytest.mark.parametrize("name", ["churn", "churn_v2", "größe", "x y", "churn-EU (2)", "顧客"])
def test_a_name_that_mlflow_and_file_systems_take_is_taken(name: str) -> None:
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("team/churn", "it has /"),
        ("churn.v2", r"it has \."),
        ("churn: eu", "it has :"),
        ("a%b", "it has %"),
        ("a'b", "it has '"),
        ('a"b', 'it has "'),
        ("a\\b", r"it has \\"),
        ("a\nb", "it has"),
        ("", "it is empty"),
        ("  ", "it is empty"),
        (" churn", "begins or ends with a space"),
        ("--force", "begins with a hyphen"),
        ("a" * 250, "250 bytes, at most 128"),
        ("ü" * 130, "260 bytes"),
        ("secret:FOO", "it has :"),
    ],
)
def test_a_name_that_would_be_refused_later_is_refused_at_once(name: str, why: str) -> None:
    with pytest.raises(InvalidModelName, match=why) as caught:
        check_model_name(name)
    assert "model=" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "usable"),
    [("a.b", "a_b"), ("team/über uns", "team_über_uns"), ("--x", "x"), ("..", "churn_v2")],
)
def test_the_hint_proposes_the_name_without_what_is_refused(name: str, usable: str) -> None:
    with pytest.raises(InvalidModelName) as caught:
        check_model_name(name)
    assert str(caught.value.hint).endswith(f"model={usable}")
    assert check_model_name(usable) == usable


def test_the_locks_file_of_a_long_name_is_short(tmp_path: Path) -> None:
    with exclusive(f"sqlite:///{tmp_path}/ledger.db", f"champion-{'ü' * 60}-{'x' * 100}"):
        (lock,) = tmp_path.iterdir()
    assert len(lock.name.encode()) < 120

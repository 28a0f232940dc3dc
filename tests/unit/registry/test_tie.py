"""Two projects that call their model alike are told before one trains the other's."""

from dataclasses import replace

import pytest

from registry.errors import TiedElsewhere
from registry.tie import TIE_TAG, Tie, refuse_tied_elsewhere

TIE = Tie(store="a" * 32, view="churn", label="churned")


@pytest.mark.parametrize("tags", [{}, {TIE_TAG: TIE.to_json()}])
def test_a_model_of_nobody_or_of_this_project_may_be_trained(tags: dict[str, str]) -> None:
    refuse_tied_elsewhere("churn", tags, TIE)


@pytest.mark.parametrize(
    "other",
    [replace(TIE, store="b" * 32), replace(TIE, view="churn_eu"), replace(TIE, label="left")],
)
def test_a_model_of_another_store_view_or_label_is_refused_with_the_way_out(other: Tie) -> None:
    with pytest.raises(TiedElsewhere, match="two projects use one name") as caught:
        refuse_tied_elsewhere("churn", {TIE_TAG: other.to_json()}, TIE)
    assert str(other) in str(caught.value)
    assert str(TIE) in str(caught.value)
    assert "--untie" in str(caught.value.hint)


def test_a_tie_that_cannot_be_read_is_another_projects() -> None:
    with pytest.raises(TiedElsewhere, match="something else"):
        refuse_tied_elsewhere("churn", {TIE_TAG: "{}"}, TIE)

import json
import sys

import pytest

from ray_jobs.dotted import resolve
from ray_jobs.training_errors import UnknownName


@pytest.mark.parametrize("path", ["json:dumps", "json.dumps"])
def test_both_spellings_lead_to_the_object(path: str) -> None:
    assert resolve(path, ("json",)) is json.dumps


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("json:dump5", "nearest is 'dump"),
        ("json.decodr:JSONDecoder", "nearest is 'decoder'"),
        ("jsn:dumps", r"jsn is not among the allowed modules .*nearest is 'json'"),
        ("jsonx.evil:run", "not among the allowed modules"),
        ("os:system", "not among the allowed modules"),
        ("json dumps", "not a dotted path"),
        ("dumps", "not a dotted path"),
    ],
)
def test_a_wrong_path_is_refused_in_one_sentence(path: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message) as caught:
        resolve(path, ("json",))
    assert caught.value.permanent
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_nothing_is_imported_before_the_module_is_found_to_be_allowed() -> None:
    with pytest.raises(UnknownName):
        resolve("antigravity:fly", ("json",))
    assert "antigravity" not in sys.modules

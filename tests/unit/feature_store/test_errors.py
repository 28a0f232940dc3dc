"""Errors say what to do next, and keep saying it after a trip to another process."""

import pickle

import pytest

from feature_store import FeatureStoreError, StoreUnavailable, VersionGone
from feature_store.errors import nearest


@pytest.mark.parametrize(("kind", "permanent"), [(VersionGone, True), (StoreUnavailable, False)])
def test_an_error_survives_pickling(kind: type[FeatureStoreError], permanent: bool) -> None:
    error = pickle.loads(pickle.dumps(kind("gone", hint="use a later version")))
    assert type(error) is kind
    assert (str(error), error.hint, error.permanent) == ("gone", "use a later version", permanent)


def test_the_nearest_word_is_named_or_else_the_first_few() -> None:
    assert nearest("laod", ["load", "site"]) == "; did you mean 'load'?"
    assert nearest("zzz", ["load", "site"]) == "; known: load, site"
    assert nearest("zzz", []) == ""
    assert nearest("zzz", [f"c{i}" for i in range(10)]).endswith("c7 and 2 more")

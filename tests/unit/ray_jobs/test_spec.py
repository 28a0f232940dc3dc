"""A job's id and its entrypoint are checked with one clear sentence."""

from __future__ import annotations

import pytest

from ray_jobs import BadEntrypoint, JobSpec, JobState, RayJobError
from ray_jobs.spec import load_entrypoint


@pytest.mark.parametrize("bad", ["", "a/b", "../a", "a b", ".hidden", "x" * 201])
def test_an_id_that_cannot_name_a_file_is_refused(bad: str) -> None:
    with pytest.raises(RayJobError, match="not usable as a file name"):
        JobSpec(id=bad, name="n", entrypoint="m:f", payload="")


def test_an_entrypoint_is_found_by_its_dotted_path() -> None:
    assert load_entrypoint("textwrap:dedent")("  a") == "a"
    assert load_entrypoint("json:JSONDecoder.decode")


@pytest.mark.parametrize(
    ("entrypoint", "missing"),
    [
        ("no_such_module:f", "no module 'no_such_module'"),
        ("textwrap:nothing", "textwrap has no function 'nothing'"),
        ("textwrap", "textwrap has no function ''"),
    ],
)
def test_a_missing_entrypoint_says_what_is_missing(entrypoint: str, missing: str) -> None:
    with pytest.raises(BadEntrypoint, match=missing) as info:
        load_entrypoint(entrypoint)
    assert info.value.permanent
    assert info.value.hint


def test_a_module_that_misses_a_library_names_the_library() -> None:
    with pytest.raises(BadEntrypoint, match="there is no module 'no_such_package'"):
        load_entrypoint("no_such_package.inner:f")


def test_only_endings_are_ended() -> None:
    assert {state for state in JobState if state.ended} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.STOPPED,
        JobState.LOST,
    }

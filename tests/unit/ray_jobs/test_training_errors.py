"""An error that would only repeat is final, and shows the user's own line."""

import pytest

from ray_jobs.training_errors import Unexpected, UnfitData, WorkerLost, final
from registry import RegistryUnreachable


def raising(error: BaseException) -> None:
    @final
    def work() -> None:
        raise error

    work()


@pytest.mark.parametrize(
    "error", [IndexError("3"), AssertionError(), RuntimeError("no"), TypeError("x"), MemoryError()]
)
def test_what_nobody_foresaw_is_final_with_type_and_line(error: Exception) -> None:
    with pytest.raises(Unexpected) as caught:
        raising(error)
    assert caught.value.permanent
    assert "(test_training_errors.py, line" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        OSError("disk"),
        ConnectionResetError("gone"),
        RegistryUnreachable("away"),
        WorkerLost("dead"),
        UnfitData("bad"),
        KeyboardInterrupt(),
    ],
)
def test_an_outage_and_what_says_of_itself_whether_to_retry_stay_as_they_are(
    error: BaseException,
) -> None:
    with pytest.raises(type(error)) as caught:
        raising(error)
    assert caught.value is error

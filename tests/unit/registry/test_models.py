"""What a storage says of a model's files: that they are gone, or only that it does not answer."""

import pytest

from registry.models import _gone


class Refused(Exception):
    """As MLflow's own: a code, and a storage's words in its text."""

    def __init__(self, message: str, error_code: str = "INTERNAL_ERROR") -> None:
        super().__init__(message)
        self.error_code = error_code


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("/models/1"),
        Refused("No such artifact: 'model'", "RESOURCE_DOES_NOT_EXIST"),
        Refused("404 Client Error: NOT FOUND for url: https://mlflow/api/artifacts/1"),
        Refused("An error occurred (404) when calling the HeadObject operation: Not Found"),
        Refused("An error occurred (NoSuchKey) when calling the GetObject operation"),
    ],
)
def test_files_that_a_storage_says_are_not_there_are_gone(error: Exception) -> None:
    assert _gone(error)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("/models/1"),
        TimeoutError("timed out"),
        ConnectionError("refused"),
        Refused("503 Server Error: SERVICE UNAVAILABLE for url: https://mlflow/api/1404"),
        Refused("An error occurred (403) when calling the HeadObject operation: Forbidden"),
    ],
)
def test_a_storage_that_refuses_or_does_not_answer_has_lost_nothing(error: Exception) -> None:
    assert not _gone(error)

"""A database of another MLflow's is told as such, and which of the two is older."""

from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from registry.errors import OtherMlflow, RegistryUnreachable
from registry.mlflow_seam import translated

VERSIONS = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
OLD = min(VERSIONS.glob("*_*.py")).name.partition("_")[0]


@pytest.mark.parametrize(
    ("schema", "wrote", "out"),
    [("ffffffffffff", "a newer MLflow", "pip install"), (OLD, "an older", "mlflow db upgrade")],
)
def test_a_database_of_another_mlflow_is_no_outage(schema: str, wrote: str, out: str) -> None:
    said = f"Detected out-of-date database schema (found version {schema}, but expected abc). Take"
    with pytest.raises(OtherMlflow, match=wrote) as caught, translated("MLflow at sqlite:///m.db"):
        raise MlflowException(said)
    assert caught.value.permanent
    assert out in str(caught.value.hint)


def test_what_else_mlflow_says_of_itself_is_an_outage() -> None:
    with pytest.raises(RegistryUnreachable), translated("MLflow"):
        raise MlflowException("database is locked")

"""Where models are tracked, where the ledger is kept, where a champion is copied to."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RegistryConfig:
    """One setting each takes the registry from one laptop to a server."""

    tracking_uri: str
    """MLflow: `sqlite:///path/mlflow.db`, `postgresql://...`, or the `http(s)://` of a server."""
    ledger_url: str
    """The ledger's database: `sqlite:///path` or `postgresql+psycopg://...`."""
    export_uri: str | None = None
    """A folder or an object store that receives every champion's files; none: no export."""
    experiment: str | None = None
    """MLflow experiment of the runs; none: one experiment a flow, named like it."""
    artifact_uri: str | None = None
    """Where MLflow keeps files when `tracking_uri` is a database; none: beside the SQLite file."""
    trusted_modules: tuple[str, ...] = ()
    """Your own modules whose classes a stored model may contain (`team.models`)."""

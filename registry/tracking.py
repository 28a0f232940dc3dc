"""One MLflow run for each run: its configuration, data versions, metrics, plots and ending."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.errors import UnknownModel
from registry.mlflow_seam import MlflowSeam, missing, translated
from registry.secrets import redact, redact_text

RUN_TAG = "ratchet.run"
# MLflow refuses longer values.
PARAM_LIMIT = 6000
TAG_LIMIT = 8000

# How a run's ending in the glossary's words looks in MLflow, which knows fewer.
ENDINGS = {
    "succeeded": "FINISHED",
    "halted": "FINISHED",
    "skipped": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """Where a run is found in MLflow."""

    run_id: str
    mlflow_run_id: str
    experiment_id: str
    artifact_uri: str


class Tracking:
    """Writes runs to MLflow; every method may be repeated after a crash."""

    def __init__(self, seam: MlflowSeam) -> None:
        self._seam = seam

    def open_run(
        self,
        run_id: str,
        flow: str,
        *,
        config_yaml: str,
        config_digest: str,
        tags: Mapping[str, str] | None = None,
        link: str | None = None,
        name: str | None = None,
    ) -> TrackedRun:
        """Find or create the MLflow run of `run_id`, and have it running.

        It is found by its tag `ratchet.run`, which is written in the same transaction as the run,
        so a crash anywhere in here is made good by calling it again.
        """
        client = self._seam.client
        with translated("MLflow"):
            experiment = self._experiment(self._seam.config.experiment or flow)
            written = {
                **(tags or {}),
                RUN_TAG: run_id,
                "ratchet.flow": flow,
                "ratchet.config": config_digest,
            }
            if link is not None:
                written["ratchet.link"] = link
                written["mlflow.note.content"] = f"Run [{run_id}]({link}) of flow {flow}."
            written = {key: redact_text(value)[:TAG_LIMIT] for key, value in written.items()}
            found = self._find(experiment, run_id)
            if found is None:
                client.create_run(experiment, tags=written, run_name=name or run_id)
                found = self._find(experiment, run_id)
            else:
                self._reopen(found, written)
            client.log_text(found.info.run_id, redact_text(config_yaml), "config.yaml")
        return TrackedRun(
            run_id=run_id,
            mlflow_run_id=found.info.run_id,
            experiment_id=experiment,
            artifact_uri=found.info.artifact_uri,
        )

    def find_run(self, run_id: str, flow: str) -> str | None:
        """The MLflow run id of a run; None when it has none."""
        with translated("MLflow"):
            name = self._seam.config.experiment or flow
            experiment = self._seam.client.get_experiment_by_name(name)
            found = None if experiment is None else self._find(experiment.experiment_id, run_id)
        return None if found is None else str(found.info.run_id)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        client = self._seam.client
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                location = self._seam.artifact_location(name)
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(name)
        if found.lifecycle_stage == "deleted":
            raise UnknownModel(
                f"The MLflow experiment {name!r} is deleted.",
                hint=f"mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    def _find(self, experiment: str, run_id: str) -> Any:
        """The run with this tag; the oldest, should two processes have made one each."""
        quoted = run_id.replace("'", "''")
        found = self._seam.client.search_runs(
            [experiment],
            filter_string=f"tags.`{RUN_TAG}` = '{quoted}'",
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            max_results=1,
        )
        return found[0] if found else None

    def _reopen(self, found: Any, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        client, mlflow_run_id = self._seam.client, found.info.run_id
        if found.info.status != "RUNNING":
            client.update_run(mlflow_run_id, status="RUNNING")
        changed = [
            RunTag(key, value) for key, value in tags.items() if found.data.tags.get(key) != value
        ]
        client.log_batch(mlflow_run_id, tags=changed)

    def log_metrics(
        self, mlflow_run_id: str, metrics: Mapping[str, float], *, now: datetime, step: int = 0
    ) -> None:
        """Write figures, all in one call."""
        from mlflow.entities import Metric

        at = int(now.timestamp() * 1000)
        batch = [Metric(name, float(value), at, step) for name, value in metrics.items()]
        with translated("MLflow"):
            self._seam.client.log_batch(mlflow_run_id, metrics=batch)

    def log_params(self, mlflow_run_id: str, params: Mapping[str, Any]) -> None:
        """Write settings, which MLflow lets one compare between runs; the first value stays."""
        from mlflow.entities import Param

        client = self._seam.client
        with translated("MLflow"):
            known = client.get_run(mlflow_run_id).data.params
            masked = redact(dict(params))
            batch = [
                Param(name, str(value)[:PARAM_LIMIT])
                for name, value in masked.items()
                if name not in known
            ]
            # MLflow takes at most 100 at once.
            for start in range(0, len(batch), 100):
                client.log_batch(mlflow_run_id, params=batch[start : start + 100])

    def log_tags(self, mlflow_run_id: str, tags: Mapping[str, str]) -> None:
        """Write or replace tags."""
        from mlflow.entities import RunTag

        masked = [RunTag(key, redact_text(value)[:TAG_LIMIT]) for key, value in tags.items()]
        with translated("MLflow"):
            self._seam.client.log_batch(mlflow_run_id, tags=masked)

    def log_dict(self, mlflow_run_id: str, values: Mapping[str, Any], file: str) -> None:
        """Write nested values as one JSON or YAML file (by the ending of `file`)."""
        with translated("MLflow"):
            self._seam.client.log_dict(mlflow_run_id, redact(dict(values)), file)

    def log_text(self, mlflow_run_id: str, text: str, file: str) -> None:
        """Write a text as one file, which MLflow shows by its ending (`card.html`)."""
        with translated("MLflow"):
            self._seam.client.log_text(mlflow_run_id, text, file)

    def text(self, mlflow_run_id: str, file: str) -> str | None:
        """A file of the run, read as text; None when the run or the file is not there."""
        from mlflow.exceptions import MlflowException

        client = self._seam.client
        try:
            with translated("MLflow"), tempfile.TemporaryDirectory(prefix="ratchet-") as folder:
                if file not in {found.path for found in client.list_artifacts(mlflow_run_id)}:
                    return None
                path = client.download_artifacts(mlflow_run_id, file, folder)
                return Path(path).read_text(encoding="utf-8")
        except MlflowException as error:
            if not missing(error):
                raise
            return None

    def log_figure(self, mlflow_run_id: str, figure: Any, file: str) -> None:
        """Write one matplotlib figure as an image (`plots/forest.png`)."""
        with translated("MLflow"):
            self._seam.client.log_figure(mlflow_run_id, figure, file)

    def log_figures(self, mlflow_run_id: str, figures: Mapping[str, Any]) -> None:
        """Write several figures under `plots/`, each named by its key."""
        for name, figure in figures.items():
            self.log_figure(mlflow_run_id, figure, f"plots/{name}.png")

    def end_run(self, mlflow_run_id: str, status: str, *, now: datetime, reason: str = "") -> None:
        """Close the run with its ending in the glossary's words, which stays as a tag."""
        tags = {"ratchet.status": status}
        if reason:
            tags["ratchet.reason"] = reason
        self.log_tags(mlflow_run_id, tags)
        with translated("MLflow"):
            self._seam.client.set_terminated(
                mlflow_run_id, status=ENDINGS[status], end_time=int(now.timestamp() * 1000)
            )

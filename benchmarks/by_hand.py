"""The training loop as one would write it by hand: no orchestrator, no ledger, no second try.

It makes the calls of Ray, MLflow and scikit-learn that `flows.retrain` makes, and leaves the same
behind in MLflow: a run with parameters, metrics, tags, files and plots, a model with signature
and example, a registered version with its tags, and the moved alias. It leaves out what makes the
loop safe and is Ratchet's own: looking before writing, markers and heartbeats, checks of the
data, digests, the interval behind the verdict, the ledger.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

HOLDOUT = 0.3
SETTINGS = {"C": 0.1, "max_iter": 2000, "random_state": 0, "n_jobs": 1}
REQUIREMENTS = [
    f"{name}=={installed(name)}" for name in ("scikit-learn", "skops", "numpy", "scipy")
]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the script keeps things, and what it calls them."""

    table: str  # folder of the Delta table
    parts: str  # folder of the extracted files
    tracking: str  # MLflow's URI
    artifacts: str  # folder of MLflow's files
    model: str  # registered model
    columns: tuple[str, ...]  # its inputs
    label: str
    time: str


def retrain(place: Place, seen: Sequence[str] = ()) -> tuple[bool, list[str]]:
    """One night: extract, train, evaluate, promote when better.

    Returns whether it promoted, and the files that are known now.
    """
    import ray
    from deltalake import DeltaTable

    files = sorted(DeltaTable(place.table).file_uris())
    new = [file for file in files if file not in seen]
    ray.get(ray.remote(_extract).remote(place, new))
    version, run_id = ray.get(ray.remote(_train).remote(place))
    better = ray.get(ray.remote(_evaluate).remote(place, version, run_id))
    if better:
        _promote(place, version)
    _end(place, run_id, "succeeded" if better else "halted")
    return better, files


def _client(place: Place) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=place.tracking, registry_uri=place.tracking)


def _extract(place: Place, files: Sequence[str]) -> None:
    """In a Ray task: one more task for each new file."""
    import ray

    ray.get([ray.remote(_extract_file).remote(place, file) for file in files])


def _extract_file(place: Place, file: str) -> None:
    import polars as pl

    Path(place.parts).mkdir(parents=True, exist_ok=True)
    names = [*place.columns, place.label, place.time]
    rows = pl.scan_parquet(file).select(names).collect()
    rows.write_parquet(Path(place.parts, Path(file).name), compression="zstd")


def _rows(place: Place) -> tuple[Any, Any]:
    """Training rows and held-out rows, split by time."""
    import polars as pl

    rows = pl.read_parquet(f"{place.parts}/*.parquet").sort(place.time)
    held_out = int(len(rows) * HOLDOUT)
    frame = rows.to_pandas()
    return frame.iloc[:-held_out], frame.iloc[-held_out:]


def _train(place: Place) -> tuple[str, str]:
    """In a Ray task: one more task fits; then everything is logged and registered."""
    import ray
    from mlflow.entities import Metric, Param

    rows, held_out = _rows(place)
    client = _client(place)
    run = client.create_run(
        _experiment(client, place),
        run_name=place.model,
        tags={"run": place.model, "flow": "by hand", "config": "1"},
    )
    run_id = run.info.run_id
    client.log_text(run_id, json.dumps(SETTINGS), "config.yaml")
    begun = time.perf_counter()
    estimator = ray.get(ray.remote(_fit).remote(ray.put(rows), place))
    seconds = time.perf_counter() - begun
    score = float(estimator.score(rows[list(place.columns)], rows[place.label]))
    params = {"trainer": "sklearn", "task": "classification", "view": place.table, **SETTINGS}
    client.log_batch(run_id, params=[Param(name, str(v)) for name, v in params.items()])
    figures = {
        "train_accuracy": score,
        "train_rows": len(rows),
        "holdout_rows": len(held_out),
        "train_seconds": seconds,
    }
    at = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(n, float(v), at, 0) for n, v in figures.items()])
    client.log_dict(run_id, {"train_until": str(rows[place.time].max())}, "train.json")
    return _register(client, place, run_id, estimator, rows), run_id


def _fit(rows: Any, place: Place) -> Any:
    """In a Ray task."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**SETTINGS).fit(rows[list(place.columns)], rows[place.label])


def _experiment(client: Any, place: Place) -> str:
    found = client.get_experiment_by_name("by-hand")
    if found is not None:
        return str(found.experiment_id)
    location = Path(place.artifacts).absolute().as_uri()
    return str(client.create_experiment("by-hand", artifact_location=location))


def _register(client: Any, place: Place, run_id: str, estimator: Any, rows: Any) -> str:
    """Store the model as a logged model of the run, and register it."""
    import mlflow.sklearn
    import skops.io
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, infer_signature

    experiment = _experiment(client, place)
    logged = client.create_logged_model(experiment, name=place.model, source_run_id=run_id)
    example = rows[list(place.columns)].head(5)
    with tempfile.TemporaryDirectory() as folder:
        files = str(Path(folder, "model"))
        mlflow.sklearn.save_model(
            estimator,
            path=files,
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
                run_id=run_id,
            ),
            pip_requirements=REQUIREMENTS,
            signature=infer_signature(example),
            input_example=example,
            serialization_format="skops",
            skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(estimator)),
        )
        client.log_model_artifacts(logged.model_id, files)
    client.set_logged_model_tags(logged.model_id, {"run": run_id})
    client.log_outputs(run_id, models=[LoggedModelOutput(logged.model_id, step=0)])
    client.finalize_logged_model(logged.model_id, "READY")
    if not client.search_registered_models(f"name='{place.model}'"):
        client.create_registered_model(place.model)
    registered = client.create_model_version(
        place.model,
        source=logged.artifact_location,
        run_id=run_id,
        tags={f"tag{number}": str(number) for number in range(11)},
        model_id=logged.model_id,
        await_creation_for=0,
    )
    return str(registered.version)


def _evaluate(place: Place, version: str, run_id: str) -> bool:
    """In a Ray task: both models on the held-out rows, recorded with plots; is it better?"""
    from mlflow.entities import Metric, RunTag
    from sklearn.metrics import accuracy_score

    _, held_out = _rows(place)
    client = _client(place)
    champion = client.get_registered_model(place.model).aliases.get("champion")
    inputs, truth = held_out[list(place.columns)], held_out[place.label]
    predicted = {"challenger": _load(client, place, version).predict(inputs)}
    if champion is not None:
        predicted = {"champion": _load(client, place, champion).predict(inputs), **predicted}
    scores = {name: float(accuracy_score(truth, found)) for name, found in predicted.items()}
    better = scores["challenger"] > scores.get("champion", 0.0)
    verdict = {"verdict": "promote" if better else "hold", **{n: f"{s}" for n, s in scores.items()}}
    # As many tags as a verdict has.
    tags = {**verdict, **{f"verdict{number}": "1" for number in range(10 - len(verdict))}}
    for name, value in tags.items():
        client.set_model_version_tag(place.model, version, name, value)
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    client.log_dict(run_id, verdict, "verdict.json")
    if champion is not None:
        difference = scores["challenger"] - scores["champion"]
        client.log_figure(run_id, _forest(difference, len(truth)), "plots/differences.png")
    client.log_figure(run_id, _confusion(truth, predicted), "plots/confusion.png")
    client.log_batch(run_id, tags=[RunTag("losses", place.parts)])
    at = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(n, s, at, 0) for n, s in scores.items()])
    return better


def _load(client: Any, place: Place, version: str) -> Any:
    import skops.io
    from mlflow.artifacts import download_artifacts

    uri = client.get_model_version_download_uri(place.model, version)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(download_artifacts(artifact_uri=uri, dst_path=folder), "model.skops")
        return skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))


def _figure(width: float, height: float, panels: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _forest(difference: float, rows: int) -> Any:
    """The difference, and a line for where it may lie."""
    figure, (axes,) = _figure(8, 1.75, 1)
    reach = 2 * (0.25 / rows) ** 0.5
    axes.plot([difference - reach, difference + reach], [0, 0], linewidth=2)
    axes.plot([difference], [0], "o")
    axes.plot([0], [0], "|", markersize=14)
    axes.axvline(0.0, linewidth=0.8, linestyle=":")
    axes.set_yticks([0], [f"all rows ({rows:,})"])
    axes.invert_yaxis()
    axes.set_xlabel("improvement in accuracy")
    axes.set_title("challenger", loc="left")
    return figure


def _confusion(truth: Any, predicted: dict[str, Any]) -> Any:
    """One panel for each model."""
    from sklearn.metrics import confusion_matrix

    figure, panels = _figure(5.2 * len(predicted), 4.6, len(predicted))
    for axes, (name, found) in zip(panels, predicted.items(), strict=True):
        table = confusion_matrix(truth, found)
        shares = table / table.sum(axis=1, keepdims=True).clip(1)
        axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
        classes = [str(label) for label in range(len(table))]
        axes.set_xticks(range(len(table)), classes, rotation=90)
        axes.set_yticks(range(len(table)), classes)
        for row, column in zip(*table.nonzero(), strict=True):
            colour = "white" if shares[row, column] > 0.6 else "black"
            text = str(table[row, column])
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(name, loc="left")
    return figure


def _promote(place: Place, version: str) -> None:
    client = _client(place)
    client.set_registered_model_alias(place.model, "champion", version)
    client.set_registered_model_tag(place.model, "promoted", version)


def _end(place: Place, run_id: str, status: str) -> None:
    from mlflow.entities import RunTag

    client = _client(place)
    client.log_batch(run_id, tags=[RunTag("status", status)])
    client.set_terminated(run_id, status="FINISHED")

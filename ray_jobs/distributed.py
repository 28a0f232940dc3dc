"""Several workers that train one model together: Ray Train, from checkpoint to checkpoint.

When a worker dies, Ray Train starts the group again and it goes on from the last checkpoint. The
order of the rows and every random number follow from the seed and the epoch, so that a training
that was interrupted ends in the same model.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs

from ray_jobs.errors import RayJobError
from ray_jobs.parquet_files import local_path
from ray_jobs.tasks import see
from ray_jobs.trainers.config import TrainerConfig
from ray_jobs.trainers.torch import (
    TorchTrainer,
    arrays_of,
    batches_of,
    check_loss,
    make_repeatable,
    optimiser_of,
    split_params,
    train_epoch,
)
from ray_jobs.trainers.trainer import Fit, Trainer, TrainingSet, encoded
from ray_jobs.trainers.xgboost import XgboostTrainer, columns_of
from ray_jobs.training_errors import TrainingFailed, WorkerLost
from ray_jobs.usage import current_usage
from registry.inputs import Column, as_frame

_TORCH_FILE = "state.pt"
_XGBOOST_FILE = "model.ubj"


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where a distributed training keeps its checkpoints."""

    folder: str
    """Local folder or object-store URI that every node can reach."""
    name: str
    """One for each training: the same name goes on where it was left."""

    def delete(self) -> None:
        """Remove them, once the model is registered."""
        path = local_path(self.folder)
        filesystem, root = (
            (pafs.LocalFileSystem(), str(path))
            if path is not None
            else pafs.FileSystem.from_uri(self.folder)
        )
        info = filesystem.get_file_info(f"{root}/{self.name}")
        if info.type == pafs.FileType.Directory:
            filesystem.delete_dir(f"{root}/{self.name}")


def fit_together(
    trainer: Trainer,
    rows: TrainingSet,
    params: Mapping[str, Any],
    *,
    device: str,
    checkpoints: Checkpoints,
) -> Fit:
    """Fit with `config.workers` workers. Raises TrainingFailed, or WorkerLost after too many."""
    started = time.perf_counter()
    if isinstance(trainer, TorchTrainer):
        return _fit_torch(trainer, rows, params, device, checkpoints, started)
    if isinstance(trainer, XgboostTrainer):
        return _fit_xgboost(trainer, rows, params, device, checkpoints, started)
    raise TrainingFailed(f"{trainer.config.kind} cannot train with several workers")


def _fit_torch(
    trainer: TorchTrainer,
    rows: TrainingSet,
    params: Mapping[str, Any],
    device: str,
    checkpoints: Checkpoints,
    started: float,
) -> Fit:
    import torch
    from ray.train.torch import TorchTrainer as RayTorchTrainer

    arrays = arrays_of(rows)
    network = trainer.network(arrays, params)
    result = _run(RayTorchTrainer, _torch_worker, trainer, arrays, params, device, checkpoints)
    with result.checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / _TORCH_FILE, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    seconds = time.perf_counter() - started
    return trainer.fitted(network, rows, arrays, device, seconds, float(result.metrics["loss"]))


def _torch_worker(config: dict[str, Any]) -> None:
    """One worker's epochs (runs on the cluster)."""
    import ray
    import ray.train
    import torch
    from torch.nn.parallel import DistributedDataParallel

    see(config["paths"])
    trainer, params, device = config["trainer"], config["params"], config["device"]
    arrays = ray.get(config["data"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    loop, _ = split_params(params)
    make_repeatable(trainer.config, device)
    network = trainer.network(arrays, params)
    first = 0
    state = _last_state()
    if state is not None:
        network.load_state_dict(state["network"])
        first = state["epochs"]
    network = DistributedDataParallel(network.to(device))
    optimiser = optimiser_of(network, loop)
    if state is not None:
        optimiser.load_state_dict(state["optimiser"])
    seed, every = trainer.config.seed, max(trainer.config.checkpoint_every, 1)
    for epoch in range(first, loop.epochs):
        torch.manual_seed(seed * 1_000_003 + epoch * world + rank)
        batches = batches_of(len(arrays.targets), loop, seed, epoch, rank=rank, world=world)
        loss = train_epoch(network, optimiser, arrays, batches, device)
        check_loss(loss, epoch)
        metrics = {"loss": loss, "epochs": epoch + 1}
        if (epoch + 1) % every and epoch + 1 < loop.epochs:
            continue
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if rank == 0:
                state = {
                    "network": network.module.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "epochs": epoch + 1,
                }
                torch.save(state, Path(folder) / _TORCH_FILE)
                checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics, checkpoint=checkpoint)


def _last_state() -> Any:
    import ray.train
    import torch

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return torch.load(Path(folder) / _TORCH_FILE, map_location="cpu", weights_only=True)


def _fit_xgboost(
    trainer: XgboostTrainer,
    rows: TrainingSet,
    params: Mapping[str, Any],
    device: str,
    checkpoints: Checkpoints,
    started: float,
) -> Fit:
    from ray.train.xgboost import XGBoostTrainer as RayXGBoostTrainer

    estimator = trainer.estimator(params, device)
    columns = columns_of(rows)
    data = booster_data(estimator, rows, columns, trainer.config.estimator)
    result = _run(RayXGBoostTrainer, _xgboost_worker, trainer, data, params, device, checkpoints)
    with result.checkpoint.as_directory() as folder:
        estimator.load_model(Path(folder) / _XGBOOST_FILE)
    return trainer.fitted(estimator, rows, columns, device, time.perf_counter() - started)


def booster_data(
    estimator: Any, rows: TrainingSet, columns: tuple[Column, ...], path: str
) -> dict[str, Any]:
    """All that the estimator itself would train its booster with, for workers that share it."""
    _refuse_alone(estimator, path)
    codes, classes = encoded(rows)
    return {
        "inputs": as_frame(rows.inputs, columns),
        "targets": codes,
        "weights": rows.weights,
        "params": _booster_params(estimator, classes),
        "missing": estimator.missing,
        "categorical": estimator.enable_categorical,
        "rounds": estimator.get_num_boosting_rounds(),
    }


def matrix_of(data: Mapping[str, Any], share: np.ndarray) -> Any:
    """The rows of one worker, as XGBoost takes them."""
    import xgboost

    return xgboost.DMatrix(
        data["inputs"].iloc[share],
        data["targets"][share],
        weight=None if data["weights"] is None else data["weights"][share],
        missing=data["missing"],
        enable_categorical=data["categorical"],
    )


def _refuse_alone(estimator: Any, path: str) -> None:
    """Raise TrainingFailed for what only one worker does: several would make another model."""
    alone = [
        name
        for name in ("objective", "eval_metric", "callbacks", "early_stopping_rounds")
        if callable(getattr(estimator, name, None))
        or (name in {"callbacks", "early_stopping_rounds"} and getattr(estimator, name, None))
    ]
    if alone:
        raise TrainingFailed(
            f"{path}: {alone[0]} works with one worker only, and trainer.workers is more",
            hint=f"set trainer.workers=1, or leave {alone[0]} out",
        )


def _booster_params(estimator: Any, classes: tuple[Any, ...] | None) -> dict[str, Any]:
    """What the estimator would pass on to its booster by itself."""
    params = {k: v for k, v in estimator.get_xgb_params().items() if v is not None}
    if estimator.eval_metric is not None:
        params["eval_metric"] = estimator.eval_metric
    if classes is not None and len(classes) > 2:
        if params.get("objective") != "multi:softmax":
            params["objective"] = "multi:softprob"
        params["num_class"] = len(classes)
    return params


def _xgboost_worker(config: dict[str, Any]) -> None:
    """One worker's boosting rounds over its share of the rows (runs on the cluster)."""
    import ray
    import ray.train
    import xgboost
    from ray.train.xgboost import RayTrainReportCallback

    data = ray.get(config["data"])
    context = ray.train.get_context()
    share = np.arange(context.get_world_rank(), len(data["targets"]), context.get_world_size())
    matrix = matrix_of(data, share)
    checkpoint, booster, done = ray.train.get_checkpoint(), None, 0
    if checkpoint is not None:
        booster = RayTrainReportCallback.get_model(checkpoint, filename=_XGBOOST_FILE)
        done = booster.num_boosted_rounds()
    if done >= data["rounds"]:
        return
    xgboost.train(
        data["params"],
        matrix,
        num_boost_round=data["rounds"] - done,
        evals=[(matrix, "train")],
        verbose_eval=False,
        xgb_model=booster,
        callbacks=[
            RayTrainReportCallback(
                filename=_XGBOOST_FILE,
                frequency=max(config["trainer"].config.checkpoint_every, 1),
                checkpoint_at_end=True,
            )
        ],
    )


def _run(
    kind: Any,
    worker: Callable[[dict[str, Any]], None],
    trainer: Trainer,
    data: object,
    params: Mapping[str, Any],
    device: str,
    checkpoints: Checkpoints,
) -> Any:
    """Run a worker group to its end; returns Ray Train's result, which has a checkpoint."""
    import ray
    from ray.train import FailureConfig, RunConfig, WorkerGroupError

    # The workers' health is looked at this often, and their end noticed: 2 s by default.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    config: dict[str, Any] = {
        "trainer": trainer,
        "params": dict(params),
        "device": device,
        "data": ray.put(data),
        "paths": tuple(sys.path),
    }
    group = kind(
        worker,
        train_loop_config=config,
        scaling_config=_scaling(trainer.config, device),
        run_config=RunConfig(
            name=checkpoints.name,
            storage_path=checkpoints.folder,
            failure_config=FailureConfig(max_failures=trainer.config.max_failures),
        ),
    )
    workers, gpus = trainer.config.workers, trainer.config.num_gpus if device == "cuda" else 0
    usage = current_usage()
    grant = usage.begin(workers * trainer.config.num_cpus, workers * gpus)
    try:
        result = group.fit()
    except WorkerGroupError as error:
        raise _reason(error) from error
    finally:
        usage.end(grant)
    if result.checkpoint is None:
        raise WorkerLost("the distributed training ended without a checkpoint")
    return result


def _scaling(config: TrainerConfig, device: str) -> Any:
    from ray.train import ScalingConfig

    resources: dict[str, float] = {"CPU": config.num_cpus}
    if device == "cuda":
        resources["GPU"] = config.num_gpus
    if config.memory is not None:
        resources["memory"] = config.memory * 2**30
    return ScalingConfig(
        num_workers=config.workers, use_gpu=device == "cuda", resources_per_worker=resources
    )


def _reason(error: Any) -> Exception:
    """Our own error out of a worker group's, or the first of whatever it was."""
    failures = getattr(error, "worker_failures", {}) or {}
    causes = [getattr(failure, "cause", failure) for failure in failures.values()]
    for cause in causes:
        if isinstance(cause, RayJobError):
            return cause
    first = next(iter(causes), error)
    line = (str(first).splitlines() or [""])[0]
    return WorkerLost(f"{len(failures)} training workers failed: {type(first).__name__}: {line}")

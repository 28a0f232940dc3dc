"""Torch networks, trained epoch by epoch; the same loop in one process and in several."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ray_jobs.dotted import BUILT_IN_MODULES, resolve
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.trainers.trainer import (
    Fit,
    Labels,
    TrainingSet,
    build,
    column_notes,
    encoded,
    failed_fit,
    task_of,
)
from ray_jobs.training_errors import TrainingFailed
from registry.fitted import FittedModel, Flavor
from registry.inputs import Column, Form, as_array, describe


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How a network is trained; these names among a trainer's params are not the network's."""

    epochs: int = 20
    """Passes over the rows."""

    batch_size: int = 256
    """Rows a gradient, over all workers together."""

    learning_rate: float = 1e-3
    """Adam's."""

    weight_decay: float = 0.0
    """Pull of every weight towards zero."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrays:
    """A training set as arrays, ready for torch."""

    inputs: np.ndarray
    """(rows, columns) float32."""
    targets: Labels
    """(rows,) class numbers (int64) or numbers (float32)."""
    classes: tuple[Any, ...] | None
    """The label of each class number."""
    columns: tuple[Column, ...]
    """What each input column is; a category is an input of its own."""
    weights: np.ndarray | None = None
    """(rows,) float32, 1 in the mean; None: all rows count the same."""


@dataclass(frozen=True, kw_only=True)
class TorchTrainer:
    """One network in one process; several workers are in `ray_jobs.distributed`."""

    config: TrainerConfig
    allowed_modules: tuple[str, ...] = ()

    def fit(self, rows: TrainingSet, params: Mapping[str, Any], *, device: str) -> Fit:
        """Train a network from scratch; whatever its code raises is TrainingFailed."""
        try:
            return self._fit(rows, params, device)
        except Exception as error:
            raise failed_fit(self.config.estimator, error, rows) from error

    def task(self, labels: Labels, params: Mapping[str, Any]) -> Task:
        """By the labels, unless it is configured: a network does not say."""
        return task_of(self.config, labels, None)

    def _fit(self, rows: TrainingSet, params: Mapping[str, Any], device: str) -> Fit:
        loop, _ = split_params(params)
        arrays = arrays_of(rows)
        make_repeatable(self.config, device)
        network = self.network(arrays, params).to(device)
        optimiser = optimiser_of(network, loop)
        started, loss = time.perf_counter(), float("nan")
        for epoch in range(loop.epochs):
            batches = batches_of(len(arrays.targets), loop, self.config.seed, epoch)
            loss = train_epoch(network, optimiser, arrays, batches, device)
            check_loss(loss, epoch)
        return self.fitted(network, rows, arrays, device, time.perf_counter() - started, loss)

    def network(self, arrays: Arrays, params: Mapping[str, Any]) -> Any:
        """The network before its first epoch: the same for the same seed."""
        import torch

        path = self.config.estimator
        outputs = 1 if arrays.classes is None else max(len(arrays.classes), 2)
        width = arrays.inputs.shape[1]
        _, own = split_params(params)
        torch.manual_seed(self.config.seed)
        factory: Any = resolve(path, self.allowed_modules)
        inner = build(factory, path, {"inputs": width, "outputs": outputs, **own})
        if not isinstance(inner, torch.nn.Module):
            raise TrainingFailed(
                f"{path} makes a {type(inner).__name__}, not a torch.nn.Module",
                hint="return the network: def network(inputs, outputs, **params) -> nn.Module",
            )
        standardised: Any = resolve("ray_jobs.trainers.network:Standardised", BUILT_IN_MODULES)
        with np.errstate(all="ignore"):
            mean = np.nan_to_num(np.nanmean(arrays.inputs, axis=0, dtype=np.float64))
            scale = np.nan_to_num(np.nanstd(arrays.inputs, axis=0, dtype=np.float64))
        scale[scale == 0] = 1.0
        scales = (torch.from_numpy(v.astype(np.float32)) for v in (mean, scale))
        if arrays.classes is not None:
            return standardised(inner, *scales)
        spread = float(arrays.targets.std()) or 1.0
        return standardised(inner, *scales, float(arrays.targets.mean()), spread)

    def fitted(
        self,
        network: Any,
        rows: TrainingSet,
        arrays: Arrays,
        device: str,
        seconds: float,
        loss: float,
    ) -> Fit:
        """What to hand over once the network is trained."""
        return Fit(
            model=FittedModel(
                flavor=Flavor.TORCH,
                estimator=network.to("cpu").eval(),
                features=tuple(rows.inputs.column_names),
                columns=arrays.columns,
                example=rows.example,
                classes=arrays.classes,
                extras=rows.extras,
            ),
            device=device,
            seconds=seconds,
            metrics={"train_loss": loss},
            notes=column_notes(rows, arrays.columns),
        )


def split_params(params: Mapping[str, Any]) -> tuple[Loop, dict[str, Any]]:
    """The loop's parameters, and those of the network."""
    names = {field.name for field in fields(Loop)}
    loop = Loop(**{name: value for name, value in params.items() if name in names})
    if loop.epochs < 1 or loop.batch_size < 1:
        raise TrainingFailed("trainer.params: epochs and batch_size must be at least 1")
    return loop, {name: value for name, value in params.items() if name not in names}


def arrays_of(rows: TrainingSet) -> Arrays:
    """Inputs as float32, each category one of them; labels as class numbers."""
    columns = describe(rows.inputs, tuple(rows.inputs.column_names), Form.CATEGORY)
    targets, classes = encoded(rows)
    weights = rows.weights
    return Arrays(
        inputs=np.ascontiguousarray(as_array(rows.inputs, columns).astype(np.float32)),
        targets=targets.astype(np.float32) if rows.task is Task.REGRESSION else targets,
        classes=classes,
        columns=columns,
        weights=None if weights is None else (weights / weights.mean()).astype(np.float32),
    )


def make_repeatable(config: TrainerConfig, device: str) -> None:
    """The same sums in the same order: as many threads as CPUs, and no shortcuts on a GPU."""
    import torch

    torch.set_num_threads(max(int(config.num_cpus), 1))
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def optimiser_of(network: Any, loop: Loop) -> Any:
    """Adam over the network's parameters."""
    import torch

    return torch.optim.Adam(
        network.parameters(), lr=loop.learning_rate, weight_decay=loop.weight_decay
    )


def batches_of(
    rows: int, loop: Loop, seed: int, epoch: int, *, rank: int = 0, world: int = 1
) -> list[np.ndarray]:
    """Row numbers of one worker's batches in an epoch, from the seed alone.

    Every worker gets as many rows; together, a batch of each makes one of `batch_size`.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    order = np.resize(order, -(-rows // world) * world)[rank::world]
    size = max(loop.batch_size // world, 1)
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:  # one row has no spread to normalise by
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def train_epoch(
    network: Any, optimiser: Any, arrays: Arrays, batches: list[np.ndarray], device: str
) -> float:
    """One pass over the batches; returns the mean loss."""
    import torch

    inner = getattr(network, "module", network)
    network.train()
    total = torch.zeros((), device=device)
    for batch in batches:
        inputs = torch.from_numpy(arrays.inputs[batch]).to(device)
        targets = torch.from_numpy(arrays.targets[batch]).to(device)
        outputs = network(inputs)
        if arrays.classes is None:
            losses = ((outputs.reshape(-1) - targets) / inner.out_scale) ** 2
        else:
            losses = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
        if arrays.weights is not None:
            losses = losses * torch.from_numpy(arrays.weights[batch]).to(device)
        loss = losses.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total = total + loss.detach()  # on the device: reading it each time would wait for it
    return float(total) / len(batches)


def check_loss(loss: float, epoch: int) -> None:
    """Raise TrainingFailed when the training has run away."""
    if not np.isfinite(loss):
        raise TrainingFailed(
            f"the training loss is {loss} after epoch {epoch + 1}",
            hint="lower trainer.params.learning_rate, or look for extreme inputs",
        )

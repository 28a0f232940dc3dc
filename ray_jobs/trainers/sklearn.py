"""Anything with scikit-learn's `fit` and `predict`, named in the config."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray_jobs.dotted import partition, resolve
from ray_jobs.trainers.config import TrainerConfig
from ray_jobs.trainers.trainer import Fit, TrainingSet, build
from ray_jobs.training_errors import TrainingFailed
from registry.fitted import FittedModel, Flavor
from registry.inputs import as_frame


@dataclass(frozen=True, kw_only=True)
class SklearnTrainer:
    """One estimator in one process; the estimator itself uses the CPUs it is given."""

    config: TrainerConfig
    allowed_modules: tuple[str, ...] = ()

    def fit(self, rows: TrainingSet, params: Mapping[str, Any], *, device: str) -> Fit:
        """Fit on a data frame with the columns' names."""
        path = self.config.estimator
        estimator = build(resolve(path, self.allowed_modules), path, params)
        seeded(estimator, params, self.config)
        names = tuple(rows.inputs.column_names)
        started = time.perf_counter()
        fit_estimator(estimator, as_frame(rows.inputs, names), rows.labels, path)
        module, _ = partition(path)
        return Fit(
            model=FittedModel(
                flavor=Flavor.SKLEARN,
                estimator=estimator,
                features=names,
                example=rows.example,
                extras=rows.extras,
                modules=own_modules(module),
            ),
            device="cpu",
            seconds=time.perf_counter() - started,
        )


def seeded(estimator: Any, params: Mapping[str, Any], config: TrainerConfig) -> None:
    """Give the seed and the CPUs to every part of the estimator that takes them."""
    if not hasattr(estimator, "get_params"):
        return
    wanted: dict[str, Any] = {}
    for name, value in estimator.get_params(deep=True).items():
        last = name.rpartition("__")[2]
        if name in params or value is not None:
            continue
        if last == "random_state":
            wanted[name] = config.seed
        elif last == "n_jobs":
            wanted[name] = max(int(config.num_cpus), 1)
    if wanted:
        estimator.set_params(**wanted)


def fit_estimator(estimator: Any, inputs: Any, labels: Any, path: str) -> None:
    """Call `fit`; what it raises becomes TrainingFailed, in one sentence."""
    if not hasattr(estimator, "fit"):
        raise TrainingFailed(
            f"{path} makes a {type(estimator).__name__}, which has no fit method",
            hint="name an estimator, or set trainer.kind",
        )
    try:
        with warnings.catch_warnings():
            # A model that could be better is what the gate is for.
            warnings.simplefilter("ignore")
            estimator.fit(inputs, labels)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingFailed(
            f"{path} could not be fitted: {reason}",
            hint="check trainer.params and the types of the input columns",
        ) from error


def own_modules(module: str) -> tuple[str, ...]:
    """The module, when it is the user's own: a stored model may then contain its classes."""
    libraries = {"sklearn", "xgboost", "torch", "ray_jobs"}
    return () if module.partition(".")[0] in libraries else (module,)

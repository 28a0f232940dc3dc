"""Anything with scikit-learn's `fit` and `predict`, named in the config."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ray_jobs.dotted import partition, resolve
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.trainers.encoding import (
    encoded,
    form_of,
    selection_notes,
    with_categories,
    with_values,
)
from ray_jobs.trainers.trainer import (
    Fit,
    Labels,
    TrainingSet,
    build,
    column_notes,
    failed_fit,
    task_of,
)
from ray_jobs.training_errors import TrainingFailed
from registry.fitted import FittedModel, Flavor
from registry.inputs import Form, as_frame, describe
from registry.loaded import CODE_FILE
from registry.source_code import collect, is_installed, own

_logger = logging.getLogger(__name__)
_WARNINGS = 5
"""So many different warnings of a fit are shown."""
_HIST_ROWS = 10_000
"""From so many rows on, scikit-learn's histogram boosting stops early by itself."""


@dataclass(frozen=True, kw_only=True)
class SklearnTrainer:
    """One estimator in one process; the estimator itself uses the CPUs it is given."""

    config: TrainerConfig
    allowed_modules: tuple[str, ...] = ()

    def task(self, labels: Labels, params: Mapping[str, Any]) -> Task:
        """What the built estimator is for."""
        return task_of(self.config, labels, self._built(params))

    def fit(self, rows: TrainingSet, params: Mapping[str, Any], *, device: str) -> Fit:
        """Fit on a data frame with the columns' names."""
        path = self.config.estimator
        estimator = self._built(params)
        seeded(estimator, params, self.config)
        names = tuple(rows.inputs.column_names)
        form = form_of(estimator)
        columns = describe(rows.inputs, names, form)
        if form is Form.TEXT:
            estimator = encoded(estimator, columns)
        elif form is Form.FILLED:
            with_categories(estimator, columns, params)
        notes = (*column_notes(rows, columns), *_without_early_stopping(estimator, rows))
        started = time.perf_counter()
        frame = as_frame(rows.inputs, columns)
        if form is Form.CATEGORY:
            frame = with_values(frame)
        notes += fit_estimator(estimator, frame, rows, path, self.config)
        notes += selection_notes(estimator)
        module, _ = partition(path)
        code = own_code(module)
        return Fit(
            model=FittedModel(
                flavor=Flavor.SKLEARN,
                estimator=estimator,
                features=names,
                columns=columns,
                example=rows.example,
                extras={**rows.extras, **code},
                modules=own((module, *self.allowed_modules)),
                requirements=_requirements(estimator),
            ),
            device="cpu",
            seconds=time.perf_counter() - started,
            notes=notes,
        )

    def _built(self, params: Mapping[str, Any]) -> Any:
        path = self.config.estimator
        return build(resolve(path, self.allowed_modules), path, params)


def seeded(estimator: Any, params: Mapping[str, Any], config: TrainerConfig) -> None:
    """Give the seed and the CPUs to every part of the estimator that takes them."""
    if not hasattr(estimator, "get_params"):
        return
    if _library(estimator) == "catboost":
        # It names only what was set; what it writes besides goes into the working folder.
        known: dict[str, Any] = {
            "random_seed": config.seed,
            "thread_count": max(int(config.num_cpus), 1),
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        said = {
            "random_state": "random_seed",
            "verbose": "logging_level",
            "silent": "logging_level",
        }
        given = {said.get(name, name) for name in estimator.get_params()}
        estimator.set_params(**{k: v for k, v in known.items() if k not in given})
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


def fit_estimator(
    estimator: Any, inputs: Any, rows: TrainingSet, path: str, config: TrainerConfig
) -> tuple[str, ...]:
    """Call `fit`; whatever it raises becomes TrainingFailed, in one sentence.

    Where the estimator stops early, the newest rows say when. Returns what it warned of.
    """
    if not hasattr(estimator, "fit"):
        raise TrainingFailed(
            f"{path} makes a {type(estimator).__name__}, which has no fit method",
            hint="name an estimator, or set trainer.kind",
        )
    beside, labels = _weights(estimator, rows, path), rows.labels
    if _stops_early(estimator):
        kept = _rows_to_fit(len(labels), config)
        beside = {name: weights[:kept] for name, weights in beside.items()}
        beside["eval_set"] = [(inputs[kept:], labels[kept:])]
        inputs, labels = inputs[:kept], labels[:kept]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator.fit(inputs, labels, **beside)
        except Exception as error:  # it is the user's code, and his columns: a retry cannot help
            raise failed_fit(path, error, rows) from error
    return _shown(caught, path)


def own_code(module: str) -> dict[str, str]:
    """The source of the module that an own estimator comes from, to be kept with the model."""
    if not own((module,)) or is_installed(module):
        return {}
    return {CODE_FILE: json.dumps(collect([module]), indent=1)}


def _library(estimator: Any) -> str:
    return type(estimator).__module__.partition(".")[0]


def _requirements(estimator: Any) -> tuple[str, ...]:
    library = _library(estimator)
    return (f"{library}=={version(library)}",) if library in {"lightgbm", "catboost"} else ()


def _weights(estimator: Any, rows: TrainingSet, path: str) -> dict[str, Any]:
    """The rows' weights under the name that `fit` takes; none where no column holds them."""
    from sklearn.utils.validation import has_fit_parameter

    if rows.weights is None:
        return {}
    name, last = "sample_weight", estimator
    while hasattr(last, "steps"):
        step, last = last.steps[-1]
        name = f"{step}__{name}"
    if not has_fit_parameter(last, "sample_weight") and _library(last) != "catboost":
        raise TrainingFailed(
            f"{path}: {type(last).__name__} takes no weights of rows",
            hint="leave out features.weight, or choose another estimator",
        )
    return {name: rows.weights}


def _stops_early(estimator: Any) -> bool:
    """Whether a boosting library waits for a validation set before it may stop."""
    if _library(estimator) not in {"xgboost", "lightgbm", "catboost"}:
        return False
    params = estimator.get_params()
    return bool(params.get("early_stopping_rounds") or params.get("early_stopping_round"))


def _rows_to_fit(rows: int, config: TrainerConfig) -> int:
    kept = rows - max(int(rows * config.validation), 1)
    if kept < 1:
        raise TrainingFailed(
            f"{rows:,} training rows leave none for the validation set of early stopping",
            hint="wait for more rows, or leave early_stopping_rounds out of trainer.params",
        )
    return kept


def _without_early_stopping(estimator: Any, rows: TrainingSet) -> tuple[str, ...]:
    """Switch early stopping off where its stratified slice could not be cut: a class of one row."""
    if rows.task is not Task.CLASSIFICATION or len(rows.labels) <= _HIST_ROWS:
        return ()
    if getattr(estimator, "early_stopping", None) != "auto":
        return ()
    single = rows.single_class()
    if single is None:
        return ()
    estimator.set_params(early_stopping=False)
    return (
        f"class {single} has one training row: early stopping, which needs two of each class, "
        "is off (trainer.params.early_stopping)",
    )


def _shown(caught: list[warnings.WarningMessage], path: str) -> tuple[str, ...]:
    # What a library will do another day is no news about this model.
    later = (FutureWarning, DeprecationWarning)
    news = [each for each in caught if not issubclass(each.category, later)]
    texts = [(str(each.message).strip().splitlines() or [""])[0] for each in news]
    texts = list(dict.fromkeys(text for text in texts if text))[:_WARNINGS]
    for text in texts:
        _logger.warning("%s warns: %s", path, text)
    return tuple(f"{path} warns: {text}" for text in texts)

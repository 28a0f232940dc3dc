"""From a trainer's config to the trainer."""

from __future__ import annotations

from collections.abc import Sequence

from ray_jobs.dotted import BUILT_IN_MODULES
from ray_jobs.trainers.config import TrainerConfig, TrainerKind
from ray_jobs.trainers.sklearn import SklearnTrainer
from ray_jobs.trainers.torch import TorchTrainer
from ray_jobs.trainers.trainer import Trainer
from ray_jobs.trainers.xgboost import XgboostTrainer
from ray_jobs.training_errors import TrainingFailed


def make(config: TrainerConfig, allowed: Sequence[str] = ()) -> Trainer:
    """The trainer of the configured kind; the known libraries are always allowed."""
    modules = (*BUILT_IN_MODULES, *allowed)
    match TrainerKind(config.kind):
        case TrainerKind.SKLEARN:
            if config.workers > 1:
                raise TrainingFailed(
                    f"trainer.workers is {config.workers}, but scikit-learn's estimators train "
                    "in one process",
                    hint="set trainer.workers=1 and raise trainer.num_cpus, "
                    "or choose trainer=xgboost or trainer=torch",
                )
            return SklearnTrainer(config=config, allowed_modules=modules)
        case TrainerKind.XGBOOST:
            return XgboostTrainer(config=config, allowed_modules=modules)
        case TrainerKind.TORCH:
            return TorchTrainer(config=config, allowed_modules=modules)

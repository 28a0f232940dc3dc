"""What can go wrong between a snapshot and a verdict.

RayJobError
├── UnfitData         the rows cannot train a model, or cannot judge one
├── FeatureError      a feature function, a join or a column of the config does not work
├── UnknownName       a dotted path that is not allowed, or that leads nowhere
├── TrainingFailed    the estimator refused its parameters or its data
└── WorkerLost        a process that trained or extracted died; a retry may help
"""

from ray_jobs.errors import RayJobError


class UnfitData(RayJobError):
    """The rows cannot train a model or cannot judge one; other data may."""

    permanent = True


class FeatureError(RayJobError):
    """A feature function, a join or a column of the features config does not work."""

    permanent = True


class UnknownName(RayJobError):
    """A dotted path is outside the allowed modules, or nothing has this name."""

    permanent = True


class TrainingFailed(RayJobError):
    """The estimator refused its parameters or its data."""

    permanent = True


class WorkerLost(RayJobError):
    """A process that trained or extracted died before it was done; a retry may help."""

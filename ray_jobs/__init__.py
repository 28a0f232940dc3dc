"""What runs on the cluster: the client of Ray, and the jobs.

Names that need Arrow or NumPy are imported when they are first asked for: a start that runs no
job itself does not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ray_jobs.client import RayClient, RayConfig
from ray_jobs.dotted import BUILT_IN_MODULES, require_allowed, resolve
from ray_jobs.errors import (
    ArtifactError,
    BadEntrypoint,
    JobNotKnown,
    NotEnoughResources,
    RayJobError,
    RayUnreachable,
)
from ray_jobs.private_folder import session_folder
from ray_jobs.resources import ClusterResources, NodeResources, ensure_feasible
from ray_jobs.spec import JobError, JobSpec, JobState, JobStatus, LogChunk
from ray_jobs.training_errors import (
    FeatureError,
    TrainingFailed,
    UnfitData,
    UnknownName,
    WorkerLost,
)

if TYPE_CHECKING:
    from ray_jobs.artifacts import ArtifactStore
    from ray_jobs.cluster import ClusterRay
    from ray_jobs.connection import connect
    from ray_jobs.dashboard import ClusterLoad, Dashboard
    from ray_jobs.embedded import EmbeddedRay
    from ray_jobs.evaluation import evaluate
    from ray_jobs.extraction import extract
    from ray_jobs.features import Engine, FeaturesConfig, HoldoutConfig, JoinConfig
    from ray_jobs.markers import JobMarkers
    from ray_jobs.own_metrics import declare_metrics
    from ray_jobs.references import Challenger, Dataset, RunInfo
    from ray_jobs.trainers.config import (
        Interval,
        SearchConfig,
        SearchKind,
        Task,
        TrainerConfig,
        TrainerKind,
    )
    from ray_jobs.training import train
    from ray_jobs.watching import watch

__all__ = [
    "ArtifactError",
    "ArtifactStore",
    "BUILT_IN_MODULES",
    "BadEntrypoint",
    "ClusterLoad",
    "ClusterRay",
    "Dashboard",
    "ClusterResources",
    "EmbeddedRay",
    "JobError",
    "JobMarkers",
    "JobNotKnown",
    "JobSpec",
    "JobState",
    "JobStatus",
    "LogChunk",
    "NodeResources",
    "NotEnoughResources",
    "RayClient",
    "RayConfig",
    "RayJobError",
    "RayUnreachable",
    "connect",
    "declare_metrics",
    "ensure_feasible",
    "Challenger",
    "Dataset",
    "Engine",
    "FeatureError",
    "FeaturesConfig",
    "HoldoutConfig",
    "Interval",
    "JoinConfig",
    "RunInfo",
    "SearchConfig",
    "SearchKind",
    "Task",
    "TrainerConfig",
    "TrainerKind",
    "TrainingFailed",
    "UnfitData",
    "UnknownName",
    "WorkerLost",
    "evaluate",
    "extract",
    "require_allowed",
    "resolve",
    "session_folder",
    "train",
    "watch",
]

_LATE = {
    "Engine": "ray_jobs.features",
    "FeaturesConfig": "ray_jobs.features",
    "HoldoutConfig": "ray_jobs.features",
    "JoinConfig": "ray_jobs.features",
    "Challenger": "ray_jobs.references",
    "Dataset": "ray_jobs.references",
    "RunInfo": "ray_jobs.references",
    "Interval": "ray_jobs.trainers.config",
    "SearchConfig": "ray_jobs.trainers.config",
    "SearchKind": "ray_jobs.trainers.config",
    "Task": "ray_jobs.trainers.config",
    "TrainerConfig": "ray_jobs.trainers.config",
    "TrainerKind": "ray_jobs.trainers.config",
    "ArtifactStore": "ray_jobs.artifacts",
    "ClusterRay": "ray_jobs.cluster",
    "connect": "ray_jobs.connection",
    "ClusterLoad": "ray_jobs.dashboard",
    "Dashboard": "ray_jobs.dashboard",
    "EmbeddedRay": "ray_jobs.embedded",
    "evaluate": "ray_jobs.evaluation",
    "declare_metrics": "ray_jobs.own_metrics",
    "extract": "ray_jobs.extraction",
    "JobMarkers": "ray_jobs.markers",
    "train": "ray_jobs.training",
    "watch": "ray_jobs.watching",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value

"""What runs on the cluster: the client of Ray, and the jobs."""

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.client import RayClient, RayConfig
from ray_jobs.cluster import ClusterRay
from ray_jobs.connection import connect
from ray_jobs.dashboard import ClusterLoad, Dashboard
from ray_jobs.dataset import Dataset
from ray_jobs.dotted import resolve
from ray_jobs.embedded import EmbeddedRay
from ray_jobs.errors import (
    ArtifactError,
    BadEntrypoint,
    JobNotKnown,
    NotEnoughResources,
    RayJobError,
    RayUnreachable,
)
from ray_jobs.evaluate import evaluate
from ray_jobs.extract import extract
from ray_jobs.features import Engine, FeaturesConfig, HoldoutConfig, JoinConfig
from ray_jobs.resources import ClusterResources, NodeResources, ensure_feasible
from ray_jobs.spec import JobError, JobSpec, JobState, JobStatus, LogChunk
from ray_jobs.train import Challenger, RunInfo, train
from ray_jobs.trainers.config import (
    Interval,
    SearchConfig,
    SearchKind,
    Task,
    TrainerConfig,
    TrainerKind,
)
from ray_jobs.training_errors import (
    FeatureError,
    TrainingFailed,
    UnfitData,
    UnknownName,
    WorkerLost,
)
from ray_jobs.watch import watch

__all__ = [
    "ArtifactError",
    "ArtifactStore",
    "BadEntrypoint",
    "ClusterLoad",
    "ClusterRay",
    "Dashboard",
    "ClusterResources",
    "EmbeddedRay",
    "JobError",
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
    "resolve",
    "train",
    "watch",
]

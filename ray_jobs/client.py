"""The one way to a Ray, embedded or a cluster: submit, ask, stop, read the log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ray_jobs.resources import ClusterResources
from ray_jobs.spec import JobSpec, JobStatus, LogChunk

if TYPE_CHECKING:
    from ray_jobs.dashboard import ClusterLoad


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Which Ray runs the jobs, and how it is reached."""

    mode: Literal["embedded", "cluster"] = "embedded"
    """embedded: a Ray in this process, gone with it; cluster: a Ray that runs elsewhere."""
    address: str | None = None
    """Cluster: URL of its dashboard, http://head:8265. Embedded: not used."""
    num_cpus: int | None = None
    """Embedded: CPUs that Ray may hand out; None: all of the machine's."""
    num_gpus: int | None = None
    """Embedded: GPUs that Ray may hand out; None: all that Ray finds."""
    dashboard: bool = False
    """Embedded: whether Ray's dashboard is started, on a loopback port."""
    object_store_mb: int | None = None
    """Embedded: MiB of shared memory for Ray's objects; None: Ray decides."""
    token_path: str | None = None
    """File with Ray's token. Embedded: made if missing, by default in the project's home."""
    heartbeat_s: float = 2.0
    """Seconds between two signs of life of a job."""
    stop_grace_s: float = 10.0
    """Seconds that a job gets to end by itself before it is ended by force."""
    unreachable_s: float = 60.0
    """Cluster: seconds of silence of a job after which it counts as lost though Ray is down."""
    ship: bool = False
    """Cluster: send the import paths with each job; False: its nodes see the same folders."""
    python: str | None = None
    """Cluster: the interpreter there; None: `python` when `ship`, else this one."""
    elastic: bool = False
    """Cluster: nodes are added on demand, so no request is refused as too large."""

    def __post_init__(self) -> None:
        if self.heartbeat_s <= 0 or self.stop_grace_s < 0 or self.unreachable_s < 0:
            raise ValueError(
                "heartbeat_s must be above 0, stop_grace_s and unreachable_s at least 0"
            )


class RayClient(Protocol):
    """Runs jobs on a Ray, each id at most once; every method may be called from any thread.

    - `submit` writes the intent, then submits under the spec's id. When Ray or a marker knows
      the id already, the job is adopted: there is never a second one. It may block while an
      embedded Ray starts.
    - `status` combines two witnesses, Ray's job table and the job's markers. The done marker
      wins. A job that Ray has forgotten or given up, with a fresh heartbeat, is RUNNING: it
      gets a stop marker and is LOST only once it is gone.
    - UNKNOWN means that it never started: submitting it is safe.
    - `wait` returns the ids that have ended, as soon as there is one, or when `timeout` seconds
      have passed, or when `wake` is called; it may return nothing early.
    - `stop` asks and returns; the job is STOPPED when both witnesses agree that it is gone. A
      job that ends by itself first keeps its own ending.
    - `logs` reads what the job printed so far, from a byte offset.
    - `close` gives back what the client started. An embedded Ray ends with all its jobs; jobs
      on a cluster go on.
    """

    config: RayConfig

    @property
    def survives(self) -> bool:
        """Whether jobs go on when this process dies, and can be adopted by their id."""

    @property
    def dashboard_url(self) -> str | None:
        """Where people watch this Ray; None when it has no dashboard or has not started."""

    def warm(self, import_paths: tuple[str, ...] = ()) -> None:
        """Begins to start what a first job with these paths would wait for; returns at once."""

    def submit(self, spec: JobSpec) -> None:
        """Runs the job, or adopts it."""

    def status(self, job_id: str) -> JobStatus:
        """What is known of the job now. Raises RayUnreachable when nobody can tell."""

    def wait(self, job_ids: Iterable[str], timeout: float) -> tuple[str, ...]:
        """The ids that have ended; returns early with the first one."""

    def wake(self) -> None:
        """Makes waits that are under way return now."""

    def stop(self, job_id: str, grace: float | None = None) -> None:
        """Asks the job to end; by force after `grace` seconds (the config's unless given)."""

    def logs(self, job_id: str, offset: int = 0) -> LogChunk:
        """The job's output from byte `offset` on."""

    def resources(self) -> ClusterResources:
        """What the cluster has."""

    def load(self) -> ClusterLoad | None:
        """What the cluster has, and what of it is in use; None for a Ray that is only ours.

        Raises RayUnreachable, RayJobError.
        """

    def has_begun(self, job_id: str) -> bool:
        """Whether the job has left Ray's queue: its own process has been heard of."""

    def close(self) -> None:
        """Gives back what was started here."""

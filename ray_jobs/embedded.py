"""A Ray inside this process: started with the first job, gone with the process."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_jobs.client import RayConfig
from ray_jobs.entry import run_embedded_job
from ray_jobs.errors import RayJobError
from ray_jobs.marked import MarkedClient
from ray_jobs.private_folder import session_folder
from ray_jobs.resources import ClusterResources, connected_nodes, ensure_feasible
from ray_jobs.spec import JobSpec
from ray_jobs.witnesses import RayAnswer, RayState


@dataclass
class _Task:
    """The Ray task that runs a job submitted from here."""

    ref: Any  # ray.ObjectRef
    future: Future[None]
    kill_at: float | None = None  # monotonic, once it was asked to stop


class EmbeddedRay(MarkedClient):
    """Runs jobs as Ray tasks of this process's own Ray.

    - Nothing starts before the first `submit`. A Ray that this process uses already (a
      notebook's) is used, and left running at `close`.
    - Its jobs end with this process, also when it is killed.
    """

    survives = False

    def __init__(self, config: RayConfig, artifacts_uri: str, home: str | Path) -> None:
        super().__init__(config, artifacts_uri)
        self._home = Path(home)
        self._tasks: dict[str, _Task] = {}
        self._keeper: _Keeper | None = None
        self._paths: tuple[str, ...] = ()  # importable in every worker

    @property
    def dashboard_url(self) -> str | None:
        """Where people watch this Ray; None when it has no dashboard or has not started."""
        return self._keeper.dashboard_url if self._keeper else None

    def resources(self) -> ClusterResources:
        """What this Ray has; starts it."""
        with self._submitting:
            self._ensure_ray(self._paths)
        return ClusterResources(nodes=connected_nodes())

    def load(self) -> None:
        """Nobody else uses this Ray, and it queues what does not fit."""

    def warm(self, import_paths: tuple[str, ...] = ()) -> None:
        """Begins to start Ray, so that a first job with these paths does not wait for it."""
        threading.Thread(target=self._warm, args=(import_paths,), daemon=True).start()

    def close(self) -> None:
        """Ends the Ray that was started here with all its jobs."""
        with self._submitting:
            if self._keeper is not None:
                self._keeper.stop()
                self._keeper = None

    def _warm(self, import_paths: tuple[str, ...]) -> None:
        with self._submitting, suppress(RayJobError):  # the first job will say so
            self._ensure_ray(import_paths)

    def _submit_to_ray(self, spec: JobSpec) -> None:
        if spec.id in self._tasks:
            return
        self._ensure_ray(spec.import_paths)
        import ray

        ensure_feasible(
            num_cpus=spec.num_cpus, num_gpus=spec.num_gpus, memory=spec.memory, what=spec.name
        )
        task = ray.remote(run_embedded_job).options(
            name=spec.name,
            num_cpus=spec.num_cpus,
            num_gpus=spec.num_gpus,
            memory=spec.memory or None,
            max_retries=0,
            runtime_env=self._runtime_env(spec),
        )
        ref = task.remote(self._artifacts.location, spec.id)
        future = ref.future()
        self._tasks[spec.id] = _Task(ref=ref, future=future)
        future.add_done_callback(lambda _: self._note_change())

    def _ask_ray(self, job_id: str, max_age_s: float) -> RayAnswer:
        task = self._tasks.get(job_id)
        if task is None:
            return RayAnswer(state=RayState.UNKNOWN)
        if not task.future.done():
            import ray

            if not ray.is_initialized():
                return RayAnswer(state=RayState.UNKNOWN, message="Ray was shut down.")
            if task.kill_at is not None and time.monotonic() > task.kill_at:
                ray.cancel(task.ref, force=True)
            return RayAnswer(state=RayState.LIVE)
        error = task.future.exception()
        if error is None:
            return RayAnswer(state=RayState.SUCCEEDED)
        return RayAnswer(state=RayState.FAILED, message=str(error))

    def _stop_in_ray(self, job_id: str, grace: float) -> None:
        task = self._tasks.get(job_id)
        if task is None or task.future.done():
            return
        # A running job ends itself by the stop marker; this is for one that cannot.
        task.kill_at = time.monotonic() + grace + 1.0
        if self._markers(job_id).heartbeat() is None:
            import ray

            ray.cancel(task.ref)

    def _forget(self, job_id: str) -> None:
        super()._forget(job_id)
        self._tasks.pop(job_id, None)

    def _ensure_ray(self, import_paths: tuple[str, ...]) -> None:
        set_ray_environment(self.config, self._home)
        import ray

        if not ray.is_initialized():
            self._keeper = _started_keeper(self.config, import_paths)
            self._paths = import_paths

    def _runtime_env(self, spec: JobSpec) -> dict[str, Any] | None:
        # A worker with an environment of its own costs seconds, so only where it is needed.
        variables = dict(spec.env)
        if not set(spec.import_paths) <= set(self._paths):
            variables["PYTHONPATH"] = _joined(spec.import_paths)
        return {"env_vars": variables} if variables else None


def _started_keeper(config: RayConfig, import_paths: tuple[str, ...]) -> _Keeper:
    """Ray, started. It gives itself 30 s, too few on a machine that is very busy: two tries."""
    keeper = _Keeper(config, import_paths)
    try:
        keeper.start()
    except RayJobError as error:
        if "timed out" not in str(error):
            raise
        keeper = _Keeper(config, import_paths)
        keeper.start()
    return keeper


class _Keeper:
    """Starts Ray in a thread of its own, which lives as long as Ray.

    Ray's processes ask the kernel to be killed when their parent dies, and Linux takes the
    parent to be the thread that started them: a Ray started in a passing thread dies with it.
    """

    def __init__(self, config: RayConfig, import_paths: tuple[str, ...]) -> None:
        self._config = config
        self._import_paths = import_paths
        self._started: Future[Any] = Future()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray-keeper", daemon=True)

    @property
    def dashboard_url(self) -> str | None:
        url = self._started.result().dashboard_url
        return f"http://{url}" if url else None

    def start(self) -> None:
        """Returns when Ray runs. Raises RayJobError when it does not start."""
        self._thread.start()
        try:
            self._started.result()
        except Exception as error:
            raise RayJobError(
                f"Ray does not start here: {' '.join(str(error).split())[:300]}",
                hint="ratchet doctor",
            ) from error

    def stop(self) -> None:
        """Returns when Ray is gone."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._started.set_result(self._init())
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._stopping.wait()
        import ray

        context = ray.get_runtime_context()
        session = Path(context.get_temp_dir()) / context.get_session_name()
        ray.shutdown()
        shutil.rmtree(session, ignore_errors=True)

    def _init(self) -> Any:
        import ray

        store_mb = self._config.object_store_mb
        path = os.environ.get("PYTHONPATH")
        if self._import_paths:
            os.environ["PYTHONPATH"] = _joined(self._import_paths)
        folder = session_folder("embedded")
        try:
            return ray.init(
                address="local",
                num_cpus=self._config.num_cpus,
                num_gpus=self._config.num_gpus,
                object_store_memory=store_mb * 2**20 if store_mb else None,
                include_dashboard=self._config.dashboard,
                namespace="ratchet",
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder),
            )
        finally:
            if path is not None:
                os.environ["PYTHONPATH"] = path
            elif self._import_paths:
                del os.environ["PYTHONPATH"]


def set_ray_environment(config: RayConfig, home: Path) -> None:
    """What a Ray of this process must find in its environment; the user's own settings win."""
    environment = os.environ
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A task with side effects never runs twice by itself, also not after a lack of memory.
    environment.setdefault("RAY_task_oom_retries", "0")
    if not environment.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        token = Path(config.token_path) if config.token_path else home / "ray-token"
        _ensure_token(token)
        environment["RAY_AUTH_TOKEN_PATH"] = str(token.absolute())
        if "ray" not in sys.modules:
            # Ray reads this once, when it is imported. Later, ray.init turns tokens on itself.
            environment["RAY_AUTH_MODE"] = "token"


def _ensure_token(path: Path) -> None:
    """Ray listens on all interfaces: without a token anybody who reaches them runs code."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # for this user alone
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()


def _joined(paths: tuple[str, ...]) -> str:
    """A PYTHONPATH with these folders before the ones that are there."""
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join((*paths, before) if before else paths)

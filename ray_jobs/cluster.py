"""A Ray that runs elsewhere: jobs are submitted to it over HTTP, and outlive this process."""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray_jobs.client import RayConfig
from ray_jobs.dashboard import LIVE_NODES, ClusterLoad, Dashboard
from ray_jobs.dashboard_http import address_of, one_line, open_job_client, token_of
from ray_jobs.errors import RayJobError, RayUnreachable
from ray_jobs.marked import MarkedClient
from ray_jobs.resources import ELASTIC, ClusterResources, NodeResources, ensure_feasible
from ray_jobs.shipping import LEFT_BEHIND, shipped
from ray_jobs.spec import JobSpec
from ray_jobs.witnesses import RayAnswer, RayState

_log = logging.getLogger(__name__)

_STATES = {
    "PENDING": RayState.LIVE,
    "RUNNING": RayState.LIVE,
    "SUCCEEDED": RayState.SUCCEEDED,
    "FAILED": RayState.FAILED,
    "STOPPED": RayState.STOPPED,
}

_NOBODY_LOOKED_AFTER_IT = "JOB_SUPERVISOR_ACTOR_DIED"


class ClusterRay(MarkedClient):
    """Runs jobs as Ray jobs of the cluster at `config.address`.

    - Nothing is asked of Ray before the first call that needs it; an address where no Ray
      answers is a `RayUnreachable` within seconds.
    - Jobs go on when this process ends, and are adopted by their id.
    """

    survives = True
    ends_orphans = True
    max_answer_age_s = 1.0

    def __init__(self, config: RayConfig, artifacts_uri: str) -> None:
        super().__init__(config, artifacts_uri)
        self._answers: dict[str, tuple[float, RayAnswer]] = {}
        self._http: Any = None

    @property
    def dashboard_url(self) -> str | None:
        """Where people watch this Ray."""
        return self.config.address

    def resources(self) -> ClusterResources:
        """What the cluster's live nodes have."""
        try:
            answer = self._client().get(LIVE_NODES)
        except OSError as error:
            raise RayUnreachable(f"{self._silent()} {one_line(error)}") from error
        return ClusterResources(
            nodes=tuple(
                NodeResources.from_ray(node["node_name"], node["resources_total"])
                for node in answer["data"]["result"]["result"]
                if node["state"] == "ALIVE"
            )
        )

    def load(self) -> ClusterLoad:
        """What the cluster has, and what of it is in use, by whomever."""
        return Dashboard(address_of(self.config), token_of(self.config)).load()

    def warm(self, import_paths: tuple[str, ...] = ()) -> None:
        """Nothing to start: the cluster runs."""

    def close(self) -> None:
        """Lets go of the cluster; its jobs go on."""
        self._http = None

    def _intent(self, spec: JobSpec) -> JobSpec:
        # What was sent is on the job's path; folders of the same name there are not meant.
        return replace(spec, import_paths=()) if self.config.ship else spec

    def _submit_to_ray(self, spec: JobSpec) -> None:
        client = self._client()
        answer = self._ask_ray(spec.id, 0)
        if answer.state is RayState.UNREACHABLE:
            raise RayUnreachable(answer.message, hint="Start it, or correct ray.address.")
        if answer.state is not RayState.UNKNOWN:
            return
        if (spec.num_cpus or spec.num_gpus or spec.memory) and not self.config.elastic:
            ensure_feasible(
                num_cpus=spec.num_cpus,
                num_gpus=spec.num_gpus,
                memory=spec.memory,
                what=spec.name,
                nodes=self.resources().nodes,
            )
        try:
            with shipped(spec.import_paths if self.config.ship else ()) as folder:
                client.submit_job(
                    entrypoint=self._command(spec.id),
                    submission_id=spec.id,
                    metadata={"name": spec.name, **dict(spec.metadata)},
                    runtime_env=self._runtime_env(spec, folder),
                    entrypoint_num_cpus=spec.num_cpus or None,
                    entrypoint_num_gpus=spec.num_gpus or None,
                    entrypoint_memory=spec.memory or None,
                )
        except RuntimeError as error:
            if "No available agent" in str(error):
                hint = "Its agent, which starts jobs, is not up yet; the job waits for it."
                raise RayUnreachable(one_line(error), hint=hint) from error
            if "already exists" not in str(error):
                raise RayJobError(f"Ray refuses the job {spec.id}: {one_line(error)}") from error
        except OSError as error:
            # Ray may have the job all the same. Whoever asks for its status learns that, and
            # submits again when Ray does not know it.
            _log.warning("Ray did not confirm the job %s: %s", spec.id, one_line(error))

    def _ask_ray(self, job_id: str, max_age_s: float) -> RayAnswer:
        now = time.monotonic()
        at, answer = self._answers.get(job_id, (-math.inf, None))
        if answer is None or now - at >= max_age_s:
            answer = self._ask_now(job_id)
            self._answers[job_id] = (now, answer)
        return answer

    def _ask_now(self, job_id: str) -> RayAnswer:
        try:
            details = self._client().get_job_info(job_id)
        except RuntimeError as error:
            if "status code 404" in str(error):
                return RayAnswer(state=RayState.UNKNOWN)
            return RayAnswer(state=RayState.UNREACHABLE, message=one_line(error))
        except RayUnreachable as error:
            return RayAnswer(state=RayState.UNREACHABLE, message=str(error))
        except OSError:
            return RayAnswer(state=RayState.UNREACHABLE, message=self._silent())
        return RayAnswer(state=_state_of(details), message=details.message or "")

    def _stop_in_ray(self, job_id: str, grace: float) -> None:
        try:
            self._client().stop_job(job_id)
        except (RuntimeError, OSError, RayJobError) as error:
            # The stop marker alone ends the job, a little later.
            _log.info("Ray cannot be asked to stop %s: %s", job_id, one_line(error))

    def _forget(self, job_id: str) -> None:
        super()._forget(job_id)
        self._answers.pop(job_id, None)

    def _silent(self) -> str:
        return f"Ray at {self.config.address} does not answer any more."

    def _client(self) -> Any:
        if self._http is None:
            self._http = open_job_client(self.config)
        return self._http

    def _command(self, job_id: str) -> str:
        python = self.config.python or ("python" if self.config.ship else sys.executable)
        # Without exec the shell would be the job's process, and the one that Ray signals.
        words = (python, "-u", "-m", "ray_jobs.entry", self._artifacts.location, job_id)
        return f"exec {shlex.join(words)}"

    def _runtime_env(self, spec: JobSpec, folder: Path | None) -> dict[str, Any]:
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(self.config.stop_grace_s))}
        if self.config.elastic:
            variables[ELASTIC] = "1"
        if folder is None and spec.import_paths:
            variables["PYTHONPATH"] = os.pathsep.join(spec.import_paths)
        environment: dict[str, Any] = {"env_vars": variables | dict(spec.env)}
        if folder is not None:
            environment |= {"working_dir": str(folder), "excludes": list(LEFT_BEHIND)}
        return environment


def _state_of(details: Any) -> RayState:
    """What Ray's row says; a driver that a signal has ended was not the one to fail."""
    state = _STATES[details.status]
    by_signal = (details.driver_exit_code or 0) < 0
    if state is RayState.FAILED and (by_signal or details.error_type == _NOBODY_LOOKED_AFTER_IT):
        return RayState.KILLED
    return state

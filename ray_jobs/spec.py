"""What a Ray job is: the declaration that is submitted, and what is known of it later."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from ray_jobs.errors import BadEntrypoint, RayJobError
from ray_jobs.usage import Used

Pairs = tuple[tuple[str, str], ...]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One Ray job: a function, its payload, and what it needs to run.

    The function takes one string and returns one string, so that a job can be read with `jq`
    in the artifact store, and reading it runs no code.
    """

    id: str  # submission id, made of run, task and attempt: retrain-r7f3-train-a1
    name: str  # for people, in the dashboard: retrain · train · run 7f3
    entrypoint: str  # module:function, taking the payload and returning the result
    payload: str  # handed to the function as it is
    metadata: Pairs = ()  # shown by Ray: flow, task, run, attempt
    num_cpus: float = 0  # CPUs held by the job itself; most jobs only start Ray tasks
    num_gpus: float = 0  # GPUs held by the job itself
    memory: int = 0  # bytes held by the job itself; 0: not asked for
    env: Pairs = ()  # environment variables of the job and its tasks
    import_paths: tuple[str, ...] = ()  # the user's project folders, made importable
    heartbeat_s: float = 2.0  # seconds between two signs of life

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise RayJobError(
                f"Job id {self.id!r} is not usable as a file name.",
                hint="Use letters, digits, '.', '_' and '-', at most 200.",
                permanent=True,
            )

    def to_json(self) -> str:
        """The spec as one JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The spec that `to_json` wrote."""
        row = json.loads(text)
        for field in ("metadata", "env"):
            row[field] = tuple((key, value) for key, value in row[field])
        return cls(**row | {"import_paths": tuple(row["import_paths"])})


class JobState(StrEnum):
    """Where a job is, as far as Ray and the markers can tell."""

    UNKNOWN = "unknown"  # neither Ray nor a marker knows it: it never started
    PENDING = "pending"  # Ray has it, nothing of it runs yet
    RUNNING = "running"  # somebody works on it, be it an orphan of a dead Ray head
    SUCCEEDED = "succeeded"  # the done marker holds its result
    FAILED = "failed"  # it ended with an error
    STOPPED = "stopped"  # it was asked to stop, and is gone
    LOST = "lost"  # it started, nobody works on it any more, and it left no result

    @property
    def ended(self) -> bool:
        """Whether nobody works on the job, and nobody ever will."""
        return self in _ENDED


_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED, JobState.LOST})


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job did not succeed."""

    type: str  # class name of the exception
    message: str  # str(exception), or one sentence about the job's process
    kinds: tuple[str, ...] = ()  # dotted names of the class and its bases, for retry rules
    trace: str = ""  # formatted traceback
    hint: str | None = None  # the next command or action, if the exception names one
    permanent: bool = False  # a retry cannot help


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """What is known of a job now."""

    id: str  # submission id
    state: JobState  # the two witnesses' common answer
    result: str | None = None  # what the entrypoint returned, when it succeeded
    error: JobError | None = None  # why it failed, stopped or was lost
    node: str | None = None  # host that ran it
    used: Used | None = None  # so far, or in all once it has ended; None: it never started
    witnesses: str = ""  # what Ray and the markers said: "ray: failed; heartbeat: fresh"


@dataclass(frozen=True, kw_only=True)
class LogChunk:
    """A piece of a job's log."""

    text: str  # whole characters only
    offset: int  # where to read on, in bytes


def load_entrypoint(entrypoint: str) -> Callable[[str], str]:
    """The function behind `module:function`; `BadEntrypoint` says what is missing."""
    module_name, _, attribute = entrypoint.partition(":")
    try:
        function: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BadEntrypoint(
            f"Job entrypoint {entrypoint!r}: there is no module {error.name!r}.",
            hint="Run from the project's folder, or add it to the job's import paths.",
        ) from error
    for part in attribute.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        raise BadEntrypoint(
            f"Job entrypoint {entrypoint!r}: {module_name} has no function {attribute!r}.",
            hint="Name it as module:function.",
        )
    return function  # type: ignore[no-any-return]

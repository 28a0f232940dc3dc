"""Plain Ray tasks: started with a human name, and their errors as the ones that were raised."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ray_jobs.own_modules import forget_changed, remember
from ray_jobs.training_errors import TrainingFailed, WorkerLost, final
from ray_jobs.usage import Usage, current_usage

_MORE_MEMORY = (
    "trainer.memory=GiB keeps so much free for each worker; or train on fewer rows or columns, "
    "or with fewer tasks at a time"
)


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A Ray task under way."""

    reference: Any  # ray.ObjectRef of (seconds that it ran, what it returned)
    usage: Usage  # the account that it is counted in
    grant: int  # its number there
    asked: str  # the resources that it asked for, in words


def submit(
    function: Callable[..., Any],
    *args: Any,
    name: str,
    num_cpus: float = 1,
    num_gpus: float = 0,
    memory: float | None = None,
    retries: int = 0,
) -> Submitted:
    """Start `function(*args)` on the cluster; `result` waits for it.

    `function` is importable by name. `memory`: GiB that Ray keeps free for it. `retries` is for
    work that may safely run twice.
    """
    import ray

    remote = ray.remote(_call).options(
        name=name,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=None if memory is None else int(memory * 2**30),
        max_retries=retries,
    )
    room = "no memory" if memory is None else f"{memory:g} GiB of memory"
    usage = current_usage()
    reference = remote.remote(tuple(sys.path), num_cpus, function, *args)
    return Submitted(
        reference=reference,
        usage=usage,
        grant=usage.begin(num_cpus, num_gpus),
        asked=f"{num_cpus:g} CPUs, {num_gpus:g} GPUs and {room}",
    )


def result(task: Submitted) -> Any:
    """The result of one task. Raises what the task raised, or WorkerLost.

    A task that does not end well counts from its submission on: it does not say when it began.
    """
    import ray
    from ray import exceptions as failures

    try:
        seconds, value = ray.get(task.reference)
        task.usage.end(task.grant, seconds)
        return value
    except failures.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else None
        if cause is None or isinstance(cause, failures.RayError):
            raise WorkerLost(f"a Ray task failed: {error}") from error
        raise cause from error
    except failures.OutOfMemoryError as error:
        raise WorkerLost(
            f"the machine ran out of memory, and Ray ended the task ({task.asked} asked for)",
            hint=_MORE_MEMORY,
            permanent=True,  # the same rows need the same memory again
        ) from error
    except (failures.WorkerCrashedError, failures.NodeDiedError) as error:
        raise WorkerLost(
            f"a Ray worker died before its task was done ({task.asked} asked for){_how_it_ended()}",
            hint=f"where the kernel ended it for want of memory: {_MORE_MEMORY}",
        ) from error
    except failures.RayError as error:
        raise WorkerLost(f"a Ray task was lost: {error}") from error
    finally:
        task.usage.end(task.grant)


def run_all(
    calls: Sequence[Callable[[], Submitted]], *, parallel: Callable[[], int]
) -> Iterator[tuple[int, Any]]:
    """Start each call, at most `parallel()` at a time; yields (its number, result) as they end.

    The first error ends the others and is raised.
    """
    import ray

    waiting = list(enumerate(calls))[::-1]
    running: dict[Any, tuple[int, Submitted]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel():
                number, call = waiting.pop()
                task = call()
                running[task.reference] = (number, task)
            ended, _ = ray.wait(list(running), num_returns=1)
            number, task = running.pop(ended[0])
            yield number, result(task)
    finally:
        for reference, (_, task) in running.items():
            ray.cancel(reference, force=True)
            task.usage.end(task.grant)


def cluster_cpus() -> int:
    """CPU cores of the whole cluster, at least one."""
    import ray

    return max(int(ray.cluster_resources().get("CPU", 1)), 1)


def cluster_gpus() -> float:
    """GPUs of the whole cluster."""
    import ray

    return float(ray.cluster_resources().get("GPU", 0))


def see(paths: Iterable[str]) -> None:
    """Put the project's folders, as the coordinator sees them, on this worker's import path."""
    sys.path += [path for path in paths if path not in sys.path]


def _call(
    paths: tuple[str, ...], num_cpus: float, function: Callable[..., Any], *args: Any
) -> tuple[float, Any]:
    began = time.monotonic()
    forget_changed()
    see(paths)
    _keep_to(num_cpus)
    try:
        value = final(function)(*args)
    except SystemExit as error:
        raise TrainingFailed(
            f"the code of the task ended its own process with exit code {error.code}",
            hint="let it raise an error, which says why",
        ) from None
    finally:
        remember()
    return time.monotonic() - began, value


def _keep_to(num_cpus: float) -> None:
    """Use no more threads than CPUs were granted: a node runs as many tasks as it has of them.

    Ray itself does so for OpenMP (OMP_NUM_THREADS). Polars reads its variable when it is imported.
    """
    threads = max(math.ceil(num_cpus), 1)
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    pa.set_cpu_count(threads)


def _how_it_ended() -> str:
    """What Ray knows of the worker that ended last: the way, never a guess of ours."""
    try:
        from ray._private.state import state
        from ray.core.generated import common_pb2, gcs_pb2

        state._check_connected()
        table = [
            gcs_pb2.WorkerTableData.FromString(each)
            for each in state.global_state_accessor.get_worker_table()
        ]
        kinds = common_pb2.WorkerExitType
        dead = [
            each
            for each in table
            if not each.is_alive
            and each.exit_detail
            and not kinds.Name(each.exit_type).startswith("INTENDED")
        ]
        last = max(dead, key=lambda each: each.end_time_ms)
    except Exception:  # Ray's own tables: another version of Ray may not have them
        return ""
    return f": {last.exit_detail.split('. ')[0].strip()}"

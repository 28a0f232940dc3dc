"""Plain Ray tasks: started with a human name, and their errors as the ones that were raised."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ray_jobs.training_errors import WorkerLost
from ray_jobs.usage import Usage, current_usage


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A Ray task under way."""

    reference: Any  # ray.ObjectRef of (seconds that it ran, what it returned)
    usage: Usage  # the account that it is counted in
    grant: int  # its number there


def submit(
    function: Callable[..., Any],
    *args: Any,
    name: str,
    num_cpus: float = 1,
    num_gpus: float = 0,
    retries: int = 0,
) -> Submitted:
    """Start `function(*args)` on the cluster; `result` waits for it.

    `function` is importable by name. `retries` is for work that may safely run twice.
    """
    import ray

    remote = ray.remote(_call).options(
        name=name, num_cpus=num_cpus, num_gpus=num_gpus, max_retries=retries
    )
    usage = current_usage()
    reference = remote.remote(tuple(sys.path), function, *args)
    return Submitted(reference=reference, usage=usage, grant=usage.begin(num_cpus, num_gpus))


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
            "a Ray worker was ended because the machine ran out of memory",
            hint="give the task more memory, or use fewer CPUs at a time",
        ) from error
    except (failures.WorkerCrashedError, failures.NodeDiedError) as error:
        raise WorkerLost("a Ray worker died before its task was done") from error
    except failures.RayError as error:
        raise WorkerLost(f"a Ray task was lost: {error}") from error
    finally:
        task.usage.end(task.grant)


def run_all(
    calls: Sequence[Callable[[], Submitted]], *, parallel: int
) -> Iterator[tuple[int, Any]]:
    """Start each call, at most `parallel` at a time; yields (its number, result) as they end.

    The first error ends the others and is raised.
    """
    import ray

    waiting = list(enumerate(calls))[::-1]
    running: dict[Any, tuple[int, Submitted]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
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


def _call(paths: tuple[str, ...], function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    began = time.monotonic()
    see(paths)
    value = function(*args)
    return time.monotonic() - began, value

"""Plain Ray tasks: started with a human name, and their errors as the ones that were raised."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ray_jobs.training_errors import WorkerLost


def submit(
    function: Callable[..., Any],
    *args: Any,
    name: str,
    num_cpus: float = 1,
    num_gpus: float = 0,
    retries: int = 0,
) -> Any:
    """Start `function(*args)` on the cluster; returns Ray's reference to the result.

    `function` is importable by name. `retries` is for work that may safely run twice.
    """
    import ray

    remote = ray.remote(_call).options(
        name=name, num_cpus=num_cpus, num_gpus=num_gpus, max_retries=retries
    )
    return remote.remote(tuple(sys.path), function, *args)


def result(reference: Any) -> Any:
    """The result of one task. Raises what the task raised, or WorkerLost."""
    import ray
    from ray import exceptions as failures

    try:
        return ray.get(reference)
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


def run_all(calls: Sequence[Callable[[], Any]], *, parallel: int) -> Iterator[tuple[int, Any]]:
    """Start each call, at most `parallel` at a time; yields (its number, result) as they end.

    The first error ends the others and is raised.
    """
    import ray

    waiting = list(enumerate(calls))[::-1]
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                number, call = waiting.pop()
                running[call()] = number
            ended, _ = ray.wait(list(running), num_returns=1)
            yield running.pop(ended[0]), result(ended[0])
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


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


def _call(paths: tuple[str, ...], function: Callable[..., Any], *args: Any) -> Any:
    see(paths)
    return function(*args)

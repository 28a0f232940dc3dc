"""Entrypoints for jobs of the tests; the folder is on the jobs' import path."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path


def greet(payload: str) -> str:
    print("hello", payload, flush=True)  # noqa: T201
    return payload.upper()


def count(payload: str) -> str:
    """Leaves one line in a file each time it is really executed."""
    with Path(payload).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return "counted"


def fail(payload: str) -> str:
    raise LookupError(f"no {payload}")


def wait_for(payload: str) -> str:
    """Says that it runs, then waits for a line in a fifo."""
    print("waiting in", os.getpid(), flush=True)  # noqa: T201
    return Path(payload).read_text()


def clean_up(payload: str) -> str:
    print("waiting in", os.getpid(), flush=True)  # noqa: T201
    try:
        threading.Event().wait()
    finally:
        Path(payload).write_text("cleaned up")
    return ""


def ignore_sigterm(payload: str) -> str:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("waiting in", os.getpid(), flush=True)  # noqa: T201
    threading.Event().wait()
    return ""


def squared(number: int) -> int:
    return number * number


def fan_out(payload: str) -> str:
    """Starts Ray tasks of its own, whose code is in this file."""
    import ray

    task = ray.remote(squared).options(name=f"square · run {payload}", num_cpus=1)
    return str(ray.get([task.remote(number) for number in range(3)]))


def names_in_ray(payload: str) -> str:
    """The names that `ray list tasks` and `ray list jobs` show, once `payload` is among them."""
    import ray
    from ray.util.state import list_jobs, list_tasks

    here = ray.get_runtime_context().gcs_address
    names: set[str] = set()
    for _ in range(40):  # Ray gathers names once a second
        names = {task.name for task in list_tasks(here, limit=1000)}
        jobs = list_jobs(here, limit=1000, detail=True)
        names |= {(job.metadata or {}).get("name", "") for job in jobs}
        if payload in names:
            break
        time.sleep(0.25)
    return "\n".join(sorted(names))

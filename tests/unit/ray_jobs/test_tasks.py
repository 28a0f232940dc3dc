import os

import pyarrow as pa
import pytest

from ray_jobs import tasks


def threads() -> tuple[str, int]:
    return os.environ["POLARS_MAX_THREADS"], pa.cpu_count()


@pytest.mark.parametrize(("granted", "used"), [(0.5, 1), (1, 1), (3, 3)])
def test_a_task_uses_no_more_threads_than_cpus_were_granted(
    monkeypatch: pytest.MonkeyPatch, granted: float, used: int
) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", "64")
    before = pa.cpu_count()
    try:
        _, found = tasks._call((), granted, threads)
    finally:
        pa.set_cpu_count(before)
    assert found == (str(used), used)

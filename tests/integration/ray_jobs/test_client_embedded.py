"""An embedded Ray beside a notebook's own, and in threads that come and go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PASSING_THREAD = """
import sys, threading
import ray  # a notebook has imported it long before
from ray_jobs import JobSpec, RayConfig, connect

client = connect(RayConfig(num_cpus=1, object_store_mb=100), sys.argv[1], sys.argv[1])

def submit(number):
    name = f"j{number}"
    spec = JobSpec(id=name, name=name, entrypoint="textwrap:dedent", payload="  done")
    passing = threading.Thread(target=client.submit, args=(spec,))
    passing.start()
    passing.join()
    assert client.wait([name], 60) == (name,)
    print(client.status(name).result)

submit(1)
submit(2)
client.close()
assert not ray.is_initialized()
"""

NOTEBOOK = """
import sys
import ray
from ray_jobs import JobSpec, RayConfig, connect

ray.init(num_cpus=3, log_to_driver=False, include_dashboard=False, object_store_memory=10**8)
client = connect(RayConfig(num_cpus=1), sys.argv[1], sys.argv[1])
client.submit(JobSpec(id="j", name="j", entrypoint="textwrap:dedent", payload="  done"))
assert client.wait(["j"], 60) == ("j",)
print(client.status("j").result, client.resources().cpus)
client.close()
print(ray.get(ray.remote(lambda: "still there").remote()))
"""


def output_of(script: str, folder: Path) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment["RAY_AUTH_TOKEN_PATH"] = str(folder / "notebook-token")
    (folder / "notebook-token").write_text("0" * 64)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_ray_outlives_the_passing_thread_that_started_it(tmp_path: Path) -> None:
    assert output_of(PASSING_THREAD, tmp_path) == ["done", "done"]


def test_the_ray_of_a_notebook_is_used_and_left_running(tmp_path: Path) -> None:
    assert output_of(NOTEBOOK, tmp_path) == ["done 3.0", "still there"]

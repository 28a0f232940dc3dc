"""A real PostgreSQL for the tests that hold on every database; and which tests share a process."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings
from sqlalchemy import create_engine, text

from benchmarks import postgres
from registry import RegistryConfig
from registry.mlflow_seam import MlflowSeam

# How long an example takes says what else the machine does, not what is right.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TOGETHER = {
    # Ray keeps a token for as long as the process lives: these have them in the order they need.
    "tests/contract/ray_jobs": "rays that come and go",
    "tests/crash/test_ray_exactly_once.py": "rays that come and go",
    # `warm_ray` serves all of these.
    "tests/field": "one warm ray",
    "tests/integration/ray_jobs": "one warm ray",
    # One run of the demo is enough for both.
    "tests/acceptance/test_demo.py": "demo",
    "tests/acceptance/test_docs.py": "demo",
}
"""Files and folders whose tests stay in one process, in their order; others do so file by file."""

LONGEST = (
    "one warm ray",
    "rays that come and go",
    "demo",
    "tests/soak/test_kills.py",
    "tests/soak/test_race.py",
    "tests/simulation/test_simulation.py",
    "tests/acceptance/test_up.py",
    "tests/acceptance/test_own_project.py",
    "tests/acceptance/test_watch_flow.py",
    "tests/acceptance/test_electricity_example.py",
    "tests/acceptance/test_cli_processes.py",
    "tests/crash/test_crash_matrix.py",
    "tests/crash/test_sigkill.py",
    "tests/crash/test_promotion_under_fire.py",
    "tests/crash/test_approval_under_fire.py",
    "tests/integration/flows/test_notebooks.py",
)
"""What takes longest begins first: begun last, it would run alone while the other cores wait."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """File by file, but for what must not be torn apart."""
    from xdist.scheduler import LoadFileScheduling  # where tests run in several processes

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            longest = next((scope for scope in LONGEST if scope in self.workqueue), None)
            if longest is not None:
                self.workqueue.move_to_end(longest, last=False)
            super()._assign_work_unit(node)

    return Together(config, log)


def _scope(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return next((name for start, name in TOGETHER.items() if file.startswith(start)), file)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the processor time since the report before, with that of processes that have ended."""
    report = yield
    used = sum(os.times()[:4])
    report.__dict__["processor"], _USED[0] = used - _USED[0], used
    return report


_USED = [sum(os.times()[:4])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what takes longest, for `LONGEST`, and how much of it is computing, not waiting."""
    seconds: dict[str, float] = defaultdict(float)
    processor: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[_scope(report.nodeid)] += report.duration
                processor[_scope(report.nodeid)] += getattr(report, "processor", 0.0)
    say = terminalreporter.write_line
    say(f"{sum(seconds.values()):5.0f} s, {sum(processor.values()):5.0f} s of processors, in all")
    for scope in sorted(seconds, key=lambda scope: -seconds[scope])[:25]:
        if seconds[scope] > 20:
            say(f"{seconds[scope]:5.0f} s, {processor[scope]:5.0f} s of processors, in {scope}")


@pytest.fixture(autouse=True, scope="session")
def no_terminal() -> Iterator[None]:
    """As wide as text is where nobody looks on: pytest-xdist tells its processes a width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them, to be copied: it takes seconds.

    Made once for all processes of this run.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "empty-mlflow.db"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            uri = f"sqlite:///{path}.new"
            _ = MlflowSeam(RegistryConfig(tracking_uri=uri, ledger_url=uri)).client
            Path(f"{path}.new").rename(path)
    return path


@pytest.fixture(scope="session")
def warm_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Ray of this process, whose workers import their libraries once for all tests.

    Yields the folder from which they import what tests write: once, so each under its own name.
    """
    import ray

    code = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        patch.syspath_prepend(code)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield code
        ray.shutdown()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server: that of RATCHET_TEST_POSTGRES, or one of our own, on a socket."""
    if given := os.environ.get("RATCHET_TEST_POSTGRES"):
        yield given
        return
    if postgres.programs() is None:
        pytest.skip("PostgreSQL's programs are not installed, and RATCHET_TEST_POSTGRES not set")
    with postgres.Server(durable=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def new_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes an empty database in the server, and returns its URL."""
    numbers = count()

    def make() -> str:
        name = f"ratchet_{os.getpid()}_{next(numbers)}"
        engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return engine.url.set(database=name).render_as_string(hide_password=False)

    return make

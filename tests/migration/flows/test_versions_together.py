"""Workers of the release before and of this one share a store, and are killed: nothing is lost.

`versions/released.zip` is the core of the release before (schema 0002), as it was released.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from flows.core.errors import StoreBusy
from flows.core.records import AttemptStatus, RunStatus
from flows.core.store import Store, migrate
from flows.core.store.database import Database
from tests.migration.flows.versions.together import EACH

HERE = Path(__file__).parent / "versions"
PROJECT = Path(__file__).parents[3]
RUNS, KILLS, LONGEST = 6, 4, 300.0


class Release:
    """The code of one release, run in processes of its own over one store."""

    def __init__(self, code: Path, url: str) -> None:
        self._url = url
        self._environment = {**os.environ, "PYTHONPATH": str(code)}

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it, and go on."""
        command = [sys.executable, str(HERE / "together.py"), self._url, *arguments]
        return subprocess.Popen(command, env=self._environment)

    def do(self, *arguments: str) -> None:
        """Let it do something that ends by itself."""
        assert self.begin(*arguments).wait(LONGEST) == 0


class Fleet:
    """Workers of both releases, of which one after the other is killed and started again."""

    def __init__(self, releases: list[Release]) -> None:
        self._workers = [(release, release.begin("work")) for release in releases]

    def kill(self, index: int) -> None:
        """SIGKILL one, and start another of its release."""
        release, process = self._workers[index % len(self._workers)]
        process.kill()
        process.wait()
        self._workers[index % len(self._workers)] = (release, release.begin("work"))

    def end(self) -> list[int]:
        """Ask all to end; their exit codes."""
        for _, process in self._workers:
            process.terminate()
        return [process.wait(LONGEST) for _, process in self._workers]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ratchet.db"
    made: str = request.getfixturevalue("new_postgres")()
    return made


def released_at(folder: Path, url: str) -> Release:
    """The release before, unpacked into a folder, over a store."""
    zipfile.ZipFile(HERE / "released.zip").extractall(folder / "released")
    return Release(folder / "released", url)


@pytest.fixture
def released(tmp_path: Path, url: str) -> Release:
    return released_at(tmp_path, url)


@pytest.fixture
def database(released: Release, url: str) -> Iterator[Database]:
    """A store as the release before has made it."""
    released.do("make")
    database = Database(url)
    yield database
    database.close()


def test_both_finish_all_runs_over_one_store_while_it_is_upgraded_and_they_are_killed(
    released, url, database
):
    current = Release(PROJECT, url)
    released.do("start", str(RUNS))
    assert migrate.version_of(database) == migrate.Version(schema="0002", needs="0002")
    current.do("start", str(RUNS))  # a file is upgraded as it is opened, a server's tables not yet
    fleet = Fleet([released, current, released, current])
    try:
        for index in range(KILLS):
            time.sleep(0.5)
            fleet.kill(index)
            if index == KILLS // 2:
                migrate.upgrade(database)
        current.do("start", str(RUNS))
        released.do("start", str(RUNS))
        ended = wait_for(Store(database), 4 * RUNS)
    finally:
        codes = fleet.end()
    assert ended == {RunStatus.SUCCEEDED: 4 * RUNS}
    assert codes == [0] * 4
    assert_once_each(Store(database))


def test_the_new_one_works_on_the_old_tables_until_it_is_told_to_upgrade(new_postgres, tmp_path):
    url = new_postgres()
    released_at(tmp_path, url).do("make")
    current = Release(PROJECT, url)
    current.do("start", "2")
    fleet = Fleet([current])
    try:
        store = Store.open(url)
        assert wait_for(store, 2) == {RunStatus.SUCCEEDED: 2}
    finally:
        assert fleet.end() == [0]
    assert migrate.version_of(store.database) == migrate.Version(schema="0002", needs="0002")
    store.close()


def test_an_upgrade_ends_no_transaction_of_a_worker_by_a_deadlock(new_postgres, tmp_path):
    url = new_postgres()
    released_at(tmp_path, url).do("make")
    worker, operator = Database(url), Database(url)
    with ThreadPoolExecutor(1) as threads, worker.write() as connection:
        connection.execute(text("LOCK TABLE event IN ROW EXCLUSIVE MODE"))
        upgrading = threads.submit(migrate.upgrade, operator)
        wait_until_somebody_waits(worker)
        connection.execute(text("LOCK TABLE run IN ROW EXCLUSIVE MODE"))
        connection.commit()
        assert upgrading.result(60).is_newest
    worker.close()
    operator.close()


def test_an_upgrade_that_never_gets_the_tables_says_so_and_changes_nothing(
    new_postgres, tmp_path, monkeypatch
):
    monkeypatch.setattr(migrate, "TRIES", 2)
    url = new_postgres()
    released_at(tmp_path, url).do("make")
    reader, operator = Database(url), Database(url)
    with reader.read() as connection:
        connection.execute(text("SELECT 1 FROM run"))
        with pytest.raises(StoreBusy, match="the tables were not upgraded"):
            migrate.upgrade(operator)
    assert migrate.version_of(operator) == migrate.Version(schema="0002", needs="0002")
    reader.close()
    operator.close()


def wait_until_somebody_waits(database: Database) -> None:
    """Until a transaction of another connection waits for a table."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        with database.read() as connection:
            if connection.execute(text("SELECT 1 FROM pg_locks WHERE NOT granted")).first():
                return
    raise AssertionError("nobody waits")


def wait_for(store: Store, runs: int) -> Counter[RunStatus]:
    """How all runs have ended, once they have."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        listed = store.reads.runs(limit=1000)
        if len(listed) == runs and all(run.status.ended for run in listed):
            break
        time.sleep(0.2)
    return Counter(run.status for run in store.reads.runs(limit=1000))


def assert_once_each(store: Store) -> None:
    """Each task has succeeded in one attempt, and its other attempts are lost ones."""
    sum_of_squares = str(sum(number * number for number in range(EACH)))
    for run in store.reads.runs(limit=1000):
        detail = store.reads.detail(run.id)
        tries = Counter((attempt.key, attempt.status) for attempt in detail.attempts)
        for task in detail.tasks:
            expected = 0 if task.key == "square" else 1  # a mapped task has no attempt of its own
            assert tries[task.key, AttemptStatus.SUCCEEDED] == expected, (run, task, tries)
        lost = {status for _, status in tries} - {AttemptStatus.SUCCEEDED}
        assert lost <= {AttemptStatus.LOST}
        assert next(task.value for task in detail.tasks if task.key == "total") == sum_of_squares

"""Couriers of the release before and of this one serve one store: no channel misses an alert."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from flows.core.alert import AlertStatus
from flows.core.store import Store, migrate
from flows.core.store.database import Database
from tests.migration.flows.test_versions_together import HERE, PROJECT, Release, released_at
from tests.migration.flows.versions.couriers import CHANNELS

ALERTS, KILLS, LONGEST = 12, 2, 300.0


class Couriers(Release):
    """The couriers of one release over one store, with channels in a folder."""

    def __init__(self, code: Path, url: str, folder: Path) -> None:
        super().__init__(code, url)
        self._folder = folder

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HERE / "couriers.py"), self._url, str(self._folder)]
        return subprocess.Popen([*command, *arguments], env=self._environment)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ratchet.db"
    made: str = request.getfixturevalue("new_postgres")()
    return made


@pytest.fixture
def couriers(tmp_path: Path, url: str) -> tuple[Couriers, Couriers]:
    """Of the release before, which has made the store, and of this one."""
    released_at(tmp_path, url).do("make")
    return Couriers(tmp_path / "released", url, tmp_path), Couriers(PROJECT, url, tmp_path)


@pytest.fixture
def begun() -> Iterator[Callable[[Couriers], subprocess.Popen[bytes]]]:
    """Begins a courier; all are ended at the end, in order."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(release: Couriers) -> subprocess.Popen[bytes]:
        processes.append(release.begin("serve"))
        return processes[-1]

    yield begin
    for process in processes:
        process.terminate()
    assert {process.wait(LONGEST) for process in processes} <= {0, -signal.SIGTERM, -signal.SIGKILL}


def test_every_channel_gets_every_alert_of_both_whoever_is_killed(couriers, begun, url, tmp_path):
    before, now = couriers
    serving = [begun(release) for release in (before, now, before, now)]
    for index in range(KILLS):
        first = str(index * 2 * ALERTS)
        before.do("post", first, str(ALERTS))
        now.do("post", str(int(first) + ALERTS), str(ALERTS))
        serving[index].kill()
        serving[index].wait()
        serving[index] = begun((before, now)[index % 2])
        if index == KILLS // 2:
            with closing(Database(url)) as database:
                migrate.upgrade(database)
    wait_for_all(url, KILLS * 2 * ALERTS)
    assert_received(tmp_path, KILLS * 2 * ALERTS)


def test_nobody_is_told_twice_as_long_as_nobody_dies(couriers, begun, url, tmp_path):
    for release in couriers:
        begun(release)
    couriers[0].do("post", "0", str(ALERTS))
    couriers[1].do("post", str(ALERTS), str(ALERTS))
    wait_for_all(url, 2 * ALERTS)
    assert set(assert_received(tmp_path, 2 * ALERTS).values()) <= {1, 2}


def test_what_this_one_has_left_the_release_before_delivers(couriers, begun, url, tmp_path):
    """Back to the release before, for good: what was on its way is due there in the end."""
    before, now = couriers
    now.do("post", "0", str(ALERTS))
    store = Store.open(url)
    at = store.outbox.due()
    assert at is not None
    store.outbox.address(lambda _: CHANNELS, at, limit=ALERTS)
    with store.database.write() as connection:  # the days until then have passed
        connection.execute(text("UPDATE outbox SET next_at = at"))
    store.close()
    begun(before)
    wait_for_all(url, ALERTS)
    assert_received(tmp_path, ALERTS)


def wait_for_all(url: str, count: int) -> None:
    store, until = Store.open(url), time.monotonic() + LONGEST
    while time.monotonic() < until:
        records = store.outbox.list(limit=1000)
        if [record.status for record in records] == [AlertStatus.DELIVERED] * count:
            break
        time.sleep(0.2)
    assert Counter(record.status for record in records) == {AlertStatus.DELIVERED: count}
    store.close()


def assert_received(folder: Path, count: int) -> Counter[tuple[str, str]]:
    """How often each channel got each alert: at least once."""
    received = Counter(
        (channel, key) for channel in CHANNELS for key in (folder / channel).read_text().split()
    )
    expected = {(c, f"failed:run-{n}:1") for c in CHANNELS for n in range(count)}
    assert set(received) == expected
    return received

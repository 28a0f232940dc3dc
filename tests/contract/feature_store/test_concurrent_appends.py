"""Every store lets appenders work at once, in threads and in processes."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from feature_store import FeatureStore, FeatureStoreConfig, connect

Rows = Callable[..., pa.Table]

_PROCESSES = 3
_APPENDER = """
import sys
from datetime import UTC, datetime
import pyarrow as pa
from feature_store import FeatureStoreConfig, connect
uri, format = sys.argv[1:]
store = connect(FeatureStoreConfig(uri=uri, format=format))
at = pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
row = pa.table({"id": [1], "at": at, "load": [1.0], "peak": ["no"]})
print("ready", flush=True)
sys.stdin.readline()
print(*[store.append("meter", row) for i in range(4)])
print(*[store.append("meter", row, key=f"shared-{i}") for i in range(4)])
"""


def test_threads_each_get_their_own_version(
    store: FeatureStore, config: FeatureStoreConfig, rows: Rows
) -> None:
    def append(who: int) -> list[int]:
        own = connect(config)
        return [own.append("meter", rows(1, first=10 * who + i)) for i in range(5)]

    with ThreadPoolExecutor(4) as pool:
        versions = [version for made in pool.map(append, range(4)) for version in made]
    assert sorted(versions) == list(range(1, 21))
    assert store.latest_version("meter") == 20
    table = store.read(store.snapshot("meter"))
    assert sorted(table.column("id").to_pylist()) == [
        10 * w + i for w in range(4) for i in range(5)
    ]


def test_the_version_returned_holds_the_rows_appended(
    store: FeatureStore, config: FeatureStoreConfig, rows: Rows
) -> None:
    def append(who: int) -> tuple[int, int]:
        return who, connect(config).append("meter", rows(1, first=who), key=f"k{who}")

    with ThreadPoolExecutor(4) as pool:
        made = dict(pool.map(append, range(12)))
    for who, version in made.items():
        snapshot = store.snapshot("meter", version=version, since=version - 1)
        new = store.read(snapshot, parts=store.changes(snapshot))
        assert new.column("id").to_pylist() == [who]


def test_one_key_in_many_threads_makes_one_version(
    store: FeatureStore, config: FeatureStoreConfig, rows: Rows
) -> None:
    def append(_: int) -> int:
        return connect(config).append("meter", rows(2), key="once")

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(append, range(8))) == {1}
    assert store.snapshot("meter").rows == 2


def test_processes_get_their_own_versions_and_share_those_of_a_key(
    store: FeatureStore, config: FeatureStoreConfig
) -> None:
    command = [sys.executable, "-c", _APPENDER, config.uri, config.format]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(_PROCESSES)
    ]
    for process in running:  # each says when it is ready, then all start together
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=300)[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0] * _PROCESSES
    own = [int(version) for lines in told for version in lines[0].split()]
    shared = {lines[1] for lines in told}
    assert len(shared) == 1
    versions = sorted([*own, *map(int, shared.pop().split())])
    assert versions == list(range(1, 4 * _PROCESSES + 4 + 1))
    assert store.snapshot("meter").rows == len(versions)


def test_threads_that_widen_the_schema_all_succeed(
    store: FeatureStore, config: FeatureStoreConfig, rows: Rows
) -> None:
    def append(who: int) -> int:
        wider = rows(1, first=who).append_column(f"extra_{who}", pa.array([float(who)]))
        return connect(config).append("meter", wider, merge_schema=True)

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(append, range(3))) == [1, 2, 3]
    names = store.read(store.snapshot("meter")).column_names
    assert {"extra_0", "extra_1", "extra_2"} <= set(names)

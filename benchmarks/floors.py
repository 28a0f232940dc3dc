"""What durability, a warm worker and a plain Ray task cost by themselves: nothing can be faster.

The floors keep the core's rule: what has ended, and what starts next, is committed with
`synchronous=FULL` before the next thing starts.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path

_SCHEMA = "CREATE TABLE event (id INTEGER PRIMARY KEY, task INTEGER, kind TEXT) STRICT"
_INSERT = "INSERT INTO event (task, kind) VALUES (?, ?)"

Record = Callable[[list[tuple[int, str]]], None]
"""Commits lines of (task, kind), durably."""


@contextmanager
def record(folder: Path) -> Iterator[Record]:
    """The plainest durable record: one table in SQLite, one line for each transition."""
    database = sqlite3.connect(folder / "floor.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", _SCHEMA):
        database.execute(statement)

    def commit(lines: list[tuple[int, str]]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(_INSERT, lines)
        database.execute("COMMIT")

    try:
        yield commit
    finally:
        database.close()


class Worker:
    """One warm process that answers what it is sent."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.round_trip(0)

    def round_trip(self, task: int) -> None:
        """Have one task done."""
        self.pipe.send(task)
        self.pipe.recv()

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self._process.join()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """Some warm processes."""
    started = [Worker() for _ in range(count)]
    try:
        yield started
    finally:
        for worker in started:
            worker.close()


def _answer(pipe: connection.Connection) -> None:
    try:
        while True:
            pipe.send(pipe.recv())
    except EOFError:
        return


def chain_inline(commit: Record, tasks: int) -> None:
    """Two commits for each task: it starts, it has ended."""
    for task in range(tasks):
        commit([(task, "started")])
        commit([(task, "succeeded")])


def chain_in_worker(commit: Record, worker: Worker, tasks: int) -> None:
    """The same, with a round trip through a warm process between the two commits."""
    for task in range(tasks):
        commit([(task, "started")])
        worker.round_trip(task)
        commit([(task, "succeeded")])


def fan_out_in_threads(commit: Record, pool: ThreadPoolExecutor, slots: int, tasks: int) -> None:
    """Tasks side by side in warm threads; whatever has ended and starts next shares a commit."""
    waiting = list(range(tasks))
    running: dict[Future[int], int] = {}
    ended: list[int] = []
    while waiting or running or ended:
        starting = [waiting.pop() for _ in range(min(slots - len(running), len(waiting)))]
        commit([(t, "succeeded") for t in ended] + [(t, "started") for t in starting])
        running |= {pool.submit(int, task): task for task in starting}
        if not running:
            return
        done = wait(running, return_when=FIRST_COMPLETED).done
        ended = [running.pop(future) for future in done]


def fan_out_in_workers(commit: Record, pool: list[Worker], tasks: int) -> None:
    """The same in warm processes."""
    waiting = list(range(tasks))
    idle = list(pool)
    running: dict[object, tuple[Worker, int]] = {}
    ended: list[int] = []
    while waiting or running or ended:
        starting = [(idle.pop(), waiting.pop()) for _ in range(min(len(idle), len(waiting)))]
        commit([(t, "succeeded") for t in ended] + [(t, "started") for _, t in starting])
        for worker, task in starting:
            worker.pipe.send(task)
            running[worker.pipe] = worker, task
        if not running:
            return
        done = connection.wait([worker.pipe for worker, _ in running.values()])
        ended = []
        for pipe in done:
            worker, task = running.pop(pipe)
            worker.pipe.recv()
            idle.append(worker)
            ended.append(task)


def ray_loop(tasks: int) -> None:
    """No-op Ray tasks, all submitted and then waited for; nothing is recorded."""
    import ray

    noop = ray.remote(_same)
    ray.get([noop.remote(task) for task in range(tasks)])


def _same(x: int) -> int:
    return x

"""The state store of the world: real SQLite in memory-backed files, with faults at its edges."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, create_engine, event, text

from flows.core.errors import StoreBusy, StoreError
from flows.core.store import Store, schema
from flows.core.store.database import Database
from tests.simulation.poison import refuse
from tests.simulation.world import DEEPEST, Crash

if TYPE_CHECKING:
    from tests.simulation.process import Process


class Disk:
    """Where the stores of many worlds live, one after the other.

    The engine is shared by all processes of all worlds, because SQLAlchemy keeps the
    statements that it has compiled with it.
    """

    def __init__(self, url: str | None = None) -> None:
        """On SQLite in memory-backed files, or on the empty database at `url`."""
        self._folder = None if url else Path(tempfile.mkdtemp(prefix="ratchet-sim-", dir=_memory()))
        url = url or f"sqlite:///{self._folder}/store.db"
        Store.open(url).close()
        self.database = Database(url)
        refuse(self.database)
        self.database.close()
        if self._folder is not None:
            shutil.move(self._folder / "store.db", self._folder / "empty.db")
        event.listen(self.database.engine, "connect", _do_not_wait_for_the_disk)

    def wipe(self) -> None:
        """An empty store, in the same place."""
        self.database.close()
        if self._folder is None:
            tables = ", ".join(f'"{table.name}"' for table in schema.metadata.sorted_tables)
            with self.database.engine.begin() as connection:
                connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
            return
        for old in self._folder.glob("store.db*"):
            old.unlink()
        shutil.copyfile(self._folder / "empty.db", self._folder / "store.db")

    def remove(self) -> None:
        """Give everything back."""
        self.database.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)


def new_database(url: str, name: str) -> str:
    """An empty database in the server at `url`, made anew; its URL."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return engine.url.set(database=name).render_as_string(hide_password=False)


def _memory() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None


def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    sqlite = isinstance(connection, sqlite3.Connection)
    cursor.execute("PRAGMA synchronous=OFF" if sqlite else "SET synchronous_commit=off")
    cursor.close()
    if not sqlite:
        connection.commit()


class FaultyDatabase(Database):
    """One process's way to the store: before and after each transaction, anything may happen."""

    def __init__(self, disk: Disk, process: Process) -> None:
        vars(self).update(vars(disk.database))
        self.clock = process.store_clock  # its process's own may be wrong
        self._process = process
        self._life = process.life

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._fault("before a write")
        with super().write() as connection:
            yield connection
        self._fault("after a write")

    @contextmanager
    def read(self, *, one_moment: bool = False) -> Iterator[Connection]:
        self._fault("before a read")
        with super().read(one_moment=one_moment) as connection:
            yield connection

    def close(self) -> None:
        """The other processes of the world go on with the engine that they share."""

    def _fault(self, where: str) -> None:
        process, world = self._process, self._process.world
        if process.life != self._life:
            raise Crash  # what is left of a dead process touches nothing any more
        if world.watcher is not None:
            world.watcher(process, where)
        if not world.faulty:
            return
        roll, faults = world.chance.random(), process.faults
        if roll < (edge := faults.crash):
            process.die(where)
            raise Crash
        if roll < (edge := edge + faults.error):
            if where.startswith("before") and world.chance.random() < 0.5:
                world.reach("connection refused to a full pool")
                raise StoreBusy("no connection is free")
            world.note(process.name, f"the database fails {where}")
            raise StoreError(f"the connection was lost {where}")
        if roll < edge + faults.slow and world.depth < DEEPEST:
            seconds = world.chance.choice((0.05, 1.0, 4.0, 15.0, 40.0))
            world.note(process.name, f"is slow for {seconds:g} s {where}")
            process.hang(seconds)
            if process.life != self._life:
                raise Crash

"""Notifications: who waits is told when another process has committed, and need not poll.

SQLite has no notifications: a thread asks for the file's change counter, which costs
microseconds and takes no lock. PostgreSQL has LISTEN and NOTIFY. Notifications may come
too often, and for nothing; one that is lost (a connection that breaks) costs a moment, because
whoever waits for one also looks round by itself now and then.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from flows.core import values
from flows.core.store.database import Database

QUICK, SLOW = 0.01, 0.04
"""Seconds between two looks at a SQLite file: after something has happened, and when nothing
has for `CALM` looks. (A look costs what waking a thread costs: 25 a second are 0.3 % of a core.)"""
CALM = 10
CHANNEL, ANY_POOL = "ratchet", "ratchet_pool"
"""The channels on which PostgreSQL tells everybody of a commit, and who serves all pools; each
pool has one of its own after the second. Releases before notify the first only."""
LONGEST_CHANNEL = 63
LISTENING = 0.25
"""Seconds after which a listener looks whether it is to end."""
RECONNECT = 1.0
"""Seconds from one try to reach PostgreSQL to the next."""

Wake = Callable[[], None]


class Listener:
    """Listens from a thread of its own, until it is closed."""

    def __init__(self, listen: Callable[[Wake, threading.Event], None], wake: Wake) -> None:
        """`listen` calls its first argument until the second is set."""
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=listen, args=(wake, self._stop), name="ratchet-listener", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns once `wake` is called no more."""
        self._stop.set()
        self._thread.join()


def listen(database: Database, wake: Wake, serves: Collection[str] | None = None) -> Listener:
    """Call `wake` soon after another connection has committed what a worker may have to do.

    `serves`: the pools that it serves; None: all. A file tells of every commit.
    """
    if database.url.get_backend_name() == "sqlite":
        return Listener(partial(_watch_file, str(database.url.database)), wake)
    channels = (CHANNEL, *([ANY_POOL] if serves is None else map(_of_pool, sorted(serves))))
    return Listener(partial(_listen_to_server, database.url, channels), wake)


def notify(connection: Connection, pools: Collection[str], *, everybody: bool = False) -> None:
    """Wake the workers of these pools, or everybody, once the open transaction is committed."""
    if connection.dialect.name == "postgresql" and (pools or everybody):
        channels = [CHANNEL] if everybody else [ANY_POOL, *map(_of_pool, sorted(pools))]
        connection.execute(_NOTIFY, {"channels": channels})


def _of_pool(name: str) -> str:
    return values.fitted(f"{ANY_POOL}:{name}", LONGEST_CHANNEL)


_NOTIFY = text("SELECT pg_notify(channel, '') FROM unnest(CAST(:channels AS text[])) AS channel")


def _watch_file(path: str, wake: Wake, stop: threading.Event) -> None:
    """Look at the change counter of a SQLite file."""
    connection = sqlite3.connect(path, isolation_level=None)
    ask = connection.cursor().execute
    seen, calm = _counter(ask), 0
    while not stop.wait(QUICK if calm < CALM else SLOW):
        now = _counter(ask)
        calm = 0 if now != seen else calm + 1
        if now != seen:
            seen = now
            wake()
    connection.close()


def _counter(ask: Callable[[str], sqlite3.Cursor]) -> object:
    with suppress(sqlite3.Error):  # a busy moment: the next look sees the change
        return ask("PRAGMA data_version").fetchone()
    return None


def _listen_to_server(url: URL, channels: Iterable[str], wake: Wake, stop: threading.Event) -> None:
    """Listen to a PostgreSQL server, and go on after it was restarted."""
    # The driver of PostgreSQL is loaded only where the store is one.
    import psycopg
    from psycopg import sql

    arguments = url.translate_connect_args(username="user", database="dbname")
    options = {"connect_timeout": 5, **url.query}
    while not stop.is_set():
        with (
            suppress(psycopg.Error),
            psycopg.connect(autocommit=True, **{**arguments, **options}) as connection,
        ):
            for channel in channels:
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            wake()  # for what was missed meanwhile
            while not stop.is_set():
                if list(connection.notifies(timeout=LISTENING, stop_after=1)):
                    wake()
        stop.wait(RECONNECT)

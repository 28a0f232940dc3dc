"""The connection to the state store: SQLite by default, PostgreSQL by its URL.

SQLite runs in WAL mode with ``synchronous=FULL``: what is committed survives a power cut.
Every write transaction begins IMMEDIATE, so that two processes on one file wait for each
other instead of failing with "database is locked".
"""

from __future__ import annotations

import select
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    String,
    TypeDecorator,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import (
    ArgumentError,
    InvalidatePoolError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.types import TIMESTAMP, TypeEngine

from flows.core.clock import Clock, CorrectedClock, SteadyClock, SystemClock
from flows.core.errors import ConfigError, RowRefused, StoreBusy
from flows.core.store.driver_errors import (
    BUSY_SECONDS,
    explained,
    is_about_a_row,
    is_full,
    unwritable,
)

SHARED = 10
"""Connections that the threads of a process have at once, but for those that come first."""
PATIENCE = 5.0
"""Seconds that a thread waits for one of them."""


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time: ISO text of one width in SQLite (sortable), timestamptz elsewhere."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of this database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database."""
        if value is None or dialect.name != "sqlite":
            return value
        return iso(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value)  # written by `iso`, and therefore in UTC
        return value.astimezone(UTC) if isinstance(value, datetime) else None


@lru_cache(maxsize=256)  # the rows of one transaction share their times
def iso(value: datetime) -> str:
    """UTC, to the microsecond, always as wide: sorts as text like it does as time."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


class Database:
    """One store, opened by its URL.

    A thread has a connection for one transaction. At most `SHARED` have one at once; others wait
    for `PATIENCE` at most and are then told that the store is busy. A thread that goes `first`
    keeps a connection of its own and waits for nobody's: what an engine records, and a worker's
    lease, come before any number of callers.
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        """`clock` is the time of the store; None: the server's own, or this machine's.

        Raises ConfigError for a URL of no database that is known here.
        """
        try:
            self.url: URL = make_url(url)
            self.engine = _engine(self.url)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ConfigError(
                f"store.url is the URL of no database that is known here: {error}",
                hint="use sqlite:///path/ratchet.db or postgresql+psycopg://...",
            ) from error
        has_server = self.engine.dialect.name == "postgresql"
        self.clock = clock or (CorrectedClock(SteadyClock()) if has_server else SystemClock())
        self._driver_error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        self._shared = threading.BoundedSemaphore(SHARED)
        self._writer = threading.Lock()
        self._own: dict[int, Connection | None] = {}  # by thread: of those that go first

    @contextmanager
    def first(self) -> Iterator[None]:
        """This thread's transactions go first, on a connection that it keeps."""
        mine = threading.get_ident()
        if mine in self._own:
            yield
            return
        self._own[mine] = None
        try:
            yield
        finally:
            if (connection := self._own.pop(mine, None)) is not None:
                connection.close()

    def write(self) -> AbstractContextManager[Connection]:
        """One durable transaction. Raises StoreError with what to do, StoreBusy."""
        return self._transaction(reads_only=False)

    @contextmanager
    def read(self, *, one_moment: bool = False) -> Iterator[Connection]:
        """Reads that never wait for a writer. Raises StoreError, StoreBusy.

        With `one_moment` all of them see the same, which on a server costs a question more.
        """
        with self._transaction(reads_only=True) as connection:
            if one_moment and connection.dialect.name == "postgresql":
                connection.execute(_ONE_MOMENT)
            yield connection

    def now(self, connection: Connection) -> datetime:
        """The time of the store, by the clock of its server where it has one."""
        if isinstance(self.clock, CorrectedClock):
            self.clock.correct(connection.execute(_SERVER_TIME).scalar_one())
        return self.clock.now()

    def close(self) -> None:
        """Give back every connection."""
        for thread, connection in list(self._own.items()):
            if connection is not None:
                self._own[thread] = None
                connection.close()
        self.engine.dispose()

    @contextmanager
    def _transaction(self, *, reads_only: bool) -> Iterator[Connection]:
        mine = threading.get_ident()
        shared = mine not in self._own
        has_turn = not reads_only and self._wait_for_turn(mine)
        try:
            connection = self._connection(mine)
            try:
                connection.info[_READS_ONLY] = reads_only
                with connection.begin():
                    yield connection
            except (SQLAlchemyError, self._driver_error) as error:
                if not is_about_a_row(error):
                    connection.invalidate()  # what is about one row leaves it as it was
                raise
            finally:
                self._give_back(connection, mine, shared)
        except (SQLAlchemyError, self._driver_error) as error:
            raise explained(error, self.url) from error
        finally:
            if has_turn:
                self._writer.release()

    def _connection(self, mine: int) -> Connection:
        """One for a transaction of this thread: its own, if it goes first; else a shared one."""
        if mine not in self._own:
            if not self._shared.acquire(timeout=PATIENCE):
                raise StoreBusy(f"{SHARED} callers have held the state store for {PATIENCE:g} s")
            try:
                return self.engine.connect()
            except BaseException:
                self._shared.release()
                raise
        own = self._own[mine]
        if own is not None and own.in_transaction():  # of this thread, in the middle of one
            return self.engine.connect()
        return self._own_connection(mine)

    def _give_back(self, connection: Connection, mine: int, shared: bool) -> None:
        """The transaction is over; what this thread keeps for itself stays open."""
        try:
            if connection is not self._own.get(mine):
                connection.close()
        finally:
            if shared:
                self._shared.release()

    def _own_connection(self, mine: int) -> Connection:
        own = self._own[mine]
        if own is not None and (own.invalidated or _FROZEN in own.info or _was_closed(own)):
            own.invalidate()
            own.close()
            own = self._own[mine] = None
        if own is None:
            own = self._own[mine] = self.engine.connect()
        return own

    def _wait_for_turn(self, mine: int) -> bool:
        """SQLite has one writer at a time: of one process, threads wait here instead of there."""
        if self.engine.dialect.name != "sqlite":
            return False
        patience = BUSY_SECONDS if mine in self._own else PATIENCE
        if not self._writer.acquire(timeout=patience):
            raise StoreBusy(f"others have been writing to the state store for {patience:g} s")
        return True


def has_table(connection: Connection, name: str) -> bool:
    """Whether the store has a table already: code of this version also works on older tables.

    Once there, a table stays: a connection asks for it until it has seen it.
    """
    seen: set[str] = connection.info.setdefault("tables", set())
    if name not in seen and inspect(connection).has_table(name):
        seen.add(name)
    return name in seen


def one_at_a_time(connection: Connection, name: str, *, waits: bool = True) -> bool:
    """Let no other transaction be at what `name` says until this one ends.

    It waits for the one that is; False without `waits`. A database with one writer needs no more.
    """
    if connection.dialect.name == "sqlite":
        return True
    statement = _LOCK if waits else _TRY_LOCK
    return connection.execute(statement, {"name": name}).scalar() is not False


_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('ratchet:' || :name, 0))")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended('ratchet:' || :name, 0))")


_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
_SERVER_TIME = text("SELECT clock_timestamp() AS now").columns(now=UtcTime)


def _was_closed(connection: Connection) -> bool:
    """Whether the server has closed an idle connection, as a restart does: it can be read then."""
    return connection.dialect.name == "postgresql" and _can_be_read(connection.connection)


def _can_be_read(driver: Any) -> bool:
    if driver.closed:
        return True
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _refuse_value(context: ExceptionContext) -> None:
    """What no driver even sends is refused as a row is that the database does not take."""
    error = context.original_exception
    if isinstance(error, UnicodeError | OverflowError):
        raise RowRefused(f"the state store refuses a value: {error}") from error


def _refuse_closed(driver: Any, _record: Any, _proxy: Any) -> None:
    if _can_be_read(driver):
        raise InvalidatePoolError


_POOL: dict[str, Any] = {"pool_size": SHARED, "max_overflow": -1, "pool_use_lifo": True}
"""Opened as they are needed; who waits for one waits in `Database`, not in the pool."""
_UNTIL_GONE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""What PostgreSQL's driver is told, so that a server that is gone is noticed within seconds."""


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        engine = create_engine(url, connect_args=_UNTIL_GONE, **_POOL)
        event.listen(engine, "handle_error", _refuse_value)
        event.listen(engine, "checkout", _refuse_closed)
        return engine
    pool: dict[str, Any] = {}  # of what is in memory: a connection for each thread
    if url.database and url.database != ":memory:":
        pool = _POOL
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(url, error) from error
    arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, **pool)
    event.listen(engine, "handle_error", _refuse_value)
    event.listen(engine, "do_connect", _connect_sqlite)
    event.listen(engine, "checkin", _close_if_frozen)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_sqlite(
    dialect: Dialect, record: Any, arguments: tuple[str], options: dict[str, Any]
) -> Any:
    driver = dialect.connect(*arguments, **options)
    try:
        _prepare_sqlite(driver)
        return driver
    except sqlite3.OperationalError as error:
        driver.close()
        file, log = Path(arguments[0]), Path(f"{arguments[0]}-wal")
        needs_log = log.exists() and log.stat().st_size > 0  # what was committed last is in it
        if needs_log or not is_full(str(error)) or not file.is_file():
            raise
        record.info[_FROZEN] = error
        frozen = f"{file.as_uri()}?immutable=1"
        return dialect.connect(frozen, uri=True, isolation_level=None, check_same_thread=False)


_READS_ONLY = "reads only"
"""Of a connection whose next transaction writes nothing."""
_FROZEN = "frozen"
"""Of a connection to a store as it is: on a full disk not even WAL's index can be made, which
readers need as well. It reads the file without, as nobody else can have it open, and is not
kept; whoever wants to write is told why it cannot."""


def _close_if_frozen(_driver: Any, record: Any) -> None:
    if _FROZEN in record.info:
        record.invalidate()


def _prepare_sqlite(driver: Any) -> None:
    driver.isolation_level = None  # we say BEGIN ourselves
    cursor = driver.cursor()
    _use_wal(cursor)
    # A checkpoint costs milliseconds: let one come every 40 MB of log, not every 4.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Turn WAL on; the timeout of SQLite does not hold for this, when several open a new file."""
    clock, patience = SystemClock(), BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or patience <= 0:
                raise
        clock.sleep(0.02)
        patience -= 0.02


def _begin_sqlite(connection: Connection) -> None:
    info = connection.info
    reads_only = info.pop(_READS_ONLY, False)
    if not reads_only and (full := info.get(_FROZEN)):
        raise full
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN" if reads_only else "BEGIN IMMEDIATE")
    cursor.close()

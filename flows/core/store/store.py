"""The state store, opened by its URL: transitions, leases and reads over one database."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flows.core.clock import Clock, CorrectedClock
from flows.core.store.assets import AssetStore
from flows.core.store.database import Database
from flows.core.store.deadlines import DeadlineStore
from flows.core.store.leases import LeaseStore
from flows.core.store.migrate import prepare, version_of
from flows.core.store.notifications import Listener, Wake, listen
from flows.core.store.outbox import Outbox
from flows.core.store.owners import OwnerStore
from flows.core.store.pools import PoolStore
from flows.core.store.prune import PruneStore
from flows.core.store.reads import ReadStore
from flows.core.store.requests import RequestStore
from flows.core.store.retention import RetentionStore
from flows.core.store.runs import RunStore
from flows.core.store.schedules import ScheduleStore


class Store:
    """One database, seen by aggregate."""

    def __init__(self, database: Database, knows: Callable[[str], bool] | None = None) -> None:
        self.database = database
        self.runs = RunStore(database, knows)
        self.owners = OwnerStore(database)
        self.leases = LeaseStore(database)
        self.outbox = Outbox(database)
        self.pools = PoolStore(database)
        self.reads = ReadStore(database)
        self.prune = PruneStore(database)
        self.retention = RetentionStore(database)
        self.requests = RequestStore(database)
        self.schedules = ScheduleStore(database)
        self.deadlines = DeadlineStore(database)
        self.assets = AssetStore(database)

    @classmethod
    def open(
        cls, url: str, clock: Clock | None = None, knows: Callable[[str], bool] | None = None
    ) -> Store:
        """Open the store at `url`, making its tables if it is new. Raises StoreError.

        `clock` is its time; None: that of its server, or, where it has none, of this machine.
        `knows` says of a flow's dotted path whether it may be found here: runs of others are left
        to workers that have them.
        """
        database = Database(url, clock)
        prepare(database)
        store = cls(database, knows)
        store.ask_time()
        return store

    @property
    def clock(self) -> Clock:
        """The time of the store: what is stored is stamped by it, on whichever machine."""
        return self.database.clock

    def ask_time(self) -> None:
        """Put `clock` right by the clock of the server, if there is one. Raises StoreError."""
        if isinstance(self.clock, CorrectedClock):
            with self.database.read() as connection:
                self.database.now(connection)

    def check_version(self) -> None:
        """Raises Outdated once the store needs newer code than this: it was upgraded meanwhile."""
        version = version_of(self.database)
        if version is not None:
            version.check()

    def listen(self, wake: Wake, serves: Collection[str] | None = None) -> Listener:
        """Call `wake`, from a thread of its own, soon after another connection has committed."""
        return listen(self.database, wake, serves)

    def close(self) -> None:
        """Give back every connection."""
        self.database.close()

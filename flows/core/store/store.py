"""The state store, opened by its URL: transitions, leases and reads over one database."""

from __future__ import annotations

from flows.core.store.database import Database
from flows.core.store.leases import LeaseStore
from flows.core.store.migrate import migrate
from flows.core.store.reads import ReadStore
from flows.core.store.runs import RunStore


class Store:
    """One database, seen by aggregate."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.runs = RunStore(database)
        self.leases = LeaseStore(database)
        self.reads = ReadStore(database)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open the store at `url`, creating or upgrading its tables. Raises StoreError."""
        database = Database(url)
        migrate(database)
        return cls(database)

    def close(self) -> None:
        """Give back every connection."""
        self.database.close()

"""Assets that changed outside of a run: told to those who wait for them, as a task's are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, text

from flows.core.records import Asset, Event
from flows.core.state import ASSET_UPDATED
from flows.core.store import rows, schema
from flows.core.store.batch import execute, insertion
from flows.core.store.bell import ring
from flows.core.store.database import Database

_event = schema.event


class AssetStore:
    """The assets that no run made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def update(self, asset: Asset, *, cause: str, now: datetime) -> bool:
        """Append the event that schedules on the asset wait for; False: it was told before.

        `cause`, with the asset, says which change it is: of a change that is told twice, by
        somebody who does not know whether it was, there is one event.
        """
        data: dict[str, Any] = {"asset": asset.name, "version": asset.version, "cause": cause}
        if asset.at is not None:
            data["at"] = asset.at.isoformat()
        event = Event(
            id=0, seq=0, at=now, kind=ASSET_UPDATED, run_id=None, task=None, attempt=None, data=data
        )
        row = rows.event_row(event)
        with self._database.write() as connection:
            if connection.execute(_SAME, {"data": row["data"]}).first() is not None:
                return False
            execute(connection, _INSERT, [row])
            ring(connection)
        return True


# Literally, for the partial index.
_SAME = select(_event.c.id).where(
    text(f"kind = '{ASSET_UPDATED}'"), _event.c.run_id.is_(None), _event.c.data == bindparam("data")
)
_INSERT = insertion(_event, without=("id",))

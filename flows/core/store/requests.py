"""What each idempotency key stands for: one request, however often and by however many it is sent.

A key is bound before anything is done for it, in a transaction of its own: of two different
requests under one key, sent at once, one is refused. What a key has led to stands elsewhere (the
key of a run, or of a fire), so a crash in between loses nothing: the same request goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select

from flows.core.errors import KeyReused
from flows.core.store import schema
from flows.core.store.batch import execute, insertion
from flows.core.store.database import Database, has_table

KEPT = timedelta(days=30)
"""How long it is known what a key stands for."""

_request = schema.request


class RequestStore:
    """The keys, on stores that have the table for them; older ones do not tell requests apart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bind(
        self, scopes: Collection[str], key: str, request: Sequence[str], now: datetime
    ) -> None:
        """Let `key` stand for a request in some scopes, that of the API or that of a flow.

        Raises KeyReused, and binds nothing, when it stands for another one in any of them.
        """
        bound = [f"{scope}:{key}" for scope in sorted(scopes)]
        digest = hashlib.sha256(json.dumps(list(request)).encode()).hexdigest()
        with self._database.write() as connection:
            if not has_table(connection, _request.name):
                return
            connection.execute(_OLD, {"before": now - KEPT})
            execute(connection, _INSERT, [{"key": k, "digest": digest, "at": now} for k in bound])
            if set(connection.execute(_BOUND, {"bound": bound}).scalars()) != {digest}:
                raise KeyReused(
                    f"the key {key} stands for another request",
                    hint="send the same request again, or use a new key",
                )


_INSERT = f"{insertion(_request)} ON CONFLICT DO NOTHING"
_BOUND = select(_request.c.digest).where(_request.c.key.in_(bindparam("bound", expanding=True)))
_OLD = delete(_request).where(_request.c.at < bindparam("before"))

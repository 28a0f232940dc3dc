"""What tells one feature store from another, wherever it is moved to."""

from __future__ import annotations

import uuid

from feature_store.config import FeatureStoreConfig
from feature_store.location import Documents, resolve

_FILE = "_identity.json"


def identity(config: FeatureStoreConfig) -> str:
    """The store's id: made when it is first asked for, kept in the store, and moved with it."""
    documents = Documents(resolve(config.uri))
    found = documents.read(_FILE)
    if found is None:
        documents.write(_FILE, {"id": uuid.uuid4().hex})
        found = documents.read(_FILE)  # of two who made it at once, the later one's
    return "" if found is None else str(found["id"])

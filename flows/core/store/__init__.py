"""The state store: what was decided, durable before the next thing starts."""

from flows.core.store.claims import Claim, Step
from flows.core.store.reads import RunDetail
from flows.core.store.runs import NewRun
from flows.core.store.store import Store

__all__ = ["Claim", "NewRun", "RunDetail", "Step", "Store"]

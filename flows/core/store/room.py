"""How much each executor can take, while a claim is made."""

from __future__ import annotations

from collections.abc import Mapping


class Room:
    """What executors can take: free slots, and places in their queues below zero."""

    def __init__(self, slots: Mapping[str, int], ahead: Mapping[str, int]) -> None:
        self.slots = dict(slots)
        self._ahead = ahead

    @property
    def anywhere(self) -> bool:
        """Whether any executor can take anything."""
        return any(free > -self._ahead.get(name, 0) for name, free in self.slots.items())

    def has(self, executor: str, *, waits: bool) -> bool:
        """Whether the executor can take one more, which may be one that waits."""
        return self.slots[executor] > (-self._ahead.get(executor, 0) if waits else 0)

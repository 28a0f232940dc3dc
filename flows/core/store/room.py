"""How much each executor can take, while a claim is made."""

from __future__ import annotations

from collections.abc import Mapping

from flows.core.graph import Node
from flows.core.resources import Capacity, needs_of


class Room:
    """What executors can take: free slots, places in their queues below zero, free resources."""

    def __init__(
        self,
        slots: Mapping[str, int],
        ahead: Mapping[str, int],
        capacity: Mapping[str, Capacity] | None = None,
    ) -> None:
        self.slots = dict(slots)
        self._ahead = ahead
        self._clusters = capacity or {}
        self._capacity: dict[str, Capacity | None] = {}  # what is left of those that were asked

    @property
    def anywhere(self) -> bool:
        """Whether any executor can take anything."""
        return any(free > -self._ahead.get(name, 0) for name, free in self.slots.items())

    @property
    def free(self) -> int:
        """How much all executors can take together."""
        return sum(max(0, n + self._ahead.get(name, 0)) for name, n in self.slots.items())

    def has(self, executor: str, *, waits: bool) -> bool:
        """Whether the executor can take one more, which may be one that waits."""
        return self.slots[executor] > (-self._ahead.get(executor, 0) if waits else 0)

    def fits(self, executor: str, node: Node, arguments: str) -> bool:
        """Whether the executor's cluster has free what the task needs."""
        if executor not in self._capacity:
            self._capacity[executor] = self._clusters.get(executor)
        capacity = self._capacity[executor]
        return capacity is None or capacity.takes(needs_of(node.resources, arguments))

    def take(self, executor: str, node: Node, arguments: str) -> None:
        """Count a task that starts."""
        self.slots[executor] -= 1
        if (capacity := self._capacity.get(executor)) is not None:
            self._capacity[executor] = capacity.less(needs_of(node.resources, arguments))

"""A claim: an attempt that a worker has begun, with everything that it takes to run it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from flows.core import values
from flows.core.admission import Admission
from flows.core.errors import NotStorable
from flows.core.graph import Node, node_key
from flows.core.progress import Progress
from flows.core.records import Attempt, ErrorInfo
from flows.core.store import writes
from flows.core.store.room import Room


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An attempt that this worker has begun, and what it needs to be run."""

    attempt: Attempt
    node: Node
    flow: str
    then: frozenset[str]  # executors that the tasks right after it ask for
    arguments: str  # JSON object
    config: str  # JSON
    config_yaml: str
    config_digest: str


class Claiming:
    """Claims what may start, within one transaction, until there is no more room."""

    def __init__(
        self,
        connection: Connection,
        *,
        worker: str,
        room: Room,
        admission: Admission,
        serves: frozenset[str] | None,
        default_executor: str,
        now: datetime,
    ) -> None:
        self.claims: list[Claim] = []
        self.room = room
        self._connection = connection
        self._worker = worker
        self._admission = admission
        self._serves = serves
        self._default_executor = default_executor
        self._now = now

    def claim(self, progress: Progress, most: int | None = None) -> int:
        """Claim tasks of a run, at most so many; returns how many."""
        before, again = len(self.claims), True
        while again:
            again = False
            for key in progress.claimable(self._now):
                again |= self._settled(progress, key)
                got = len(self.claims) - before
                if not self.room.anywhere or got == most:
                    return got
        return len(self.claims) - before

    def _settled(self, progress: Progress, key: str) -> bool:
        """Claim one task if it may start. True when it came to its end: others may follow it."""
        node = progress.graph.node(key)
        if self._serves is not None and node.pool not in self._serves:
            return False
        executor = node.executor or self._default_executor
        if executor not in self.room.slots:
            progress.refuse(key, no_executor(executor, self.room.slots), self._now)
            return True
        if (why := self._admission.impossible(node.pool, node.weight)) is not None:
            progress.refuse(key, _too_heavy(key, why), self._now)
            return True
        if not self._may_start(progress, node, executor):
            return False
        try:
            arguments = arguments_of(progress, key)
        except NotStorable as error:
            progress.refuse(key, unreadable(error), self._now)
            return True
        if self._reused(progress, node, key, arguments):
            return True
        if self.room.fits(executor, node, arguments):
            self._start(progress, node, key, executor, arguments)
        return False

    def _may_start(self, progress: Progress, node: Node, executor: str) -> bool:
        run = progress.run
        return self.room.has(executor, waits=node.timeout is None) and self._admission.admits(
            node.pool, node.weight, run_id=run.id, priority=run.priority
        )

    def _start(
        self, progress: Progress, node: Node, key: str, executor: str, arguments: str
    ) -> None:
        pool = node.pool if self._admission.limits(node.pool) else None
        attempt = progress.start(
            key, worker=self._worker, executor=executor, now=self._now, pool=pool
        )
        self.claims.append(claim_of(progress, attempt, arguments))
        self.room.take(executor, node, arguments)
        self._admission.take(node.pool, node.weight)

    def _reused(self, progress: Progress, node: Node, key: str, arguments: str) -> bool:
        """Take over the value of an equal, earlier task, where the task asks for that."""
        if node.cache is None:
            return False
        config = progress.run.config_digest  # a task may read any of it
        identity = "\n".join((node.function, node.cache, arguments, config))
        digest = hashlib.sha256(identity.encode()).hexdigest()
        progress.tasks[key] = replace(progress.tasks[key], cache_key=digest)
        found = writes.reusable(self._connection, digest)
        if found is not None:
            progress.reuse(key, *found, self._now)
        return found is not None


def arguments_of(progress: Progress, key: str) -> str:
    """The inputs of a task run as JSON text. Raises NotStorable."""
    try:
        return values.dumps(progress.arguments(key))
    except NotStorable:
        raise
    except Exception as error:  # a key that is not there, a value that is no mapping: their data
        reason = values.storable(f"{type(error).__name__}: {error}")
        raise NotStorable(f"the inputs of {key} cannot be read: {reason}") from error


def claim_of(progress: Progress, attempt: Attempt, arguments: str) -> Claim:
    """What the worker that has begun `attempt` needs to run it."""
    return Claim(
        attempt=attempt,
        node=progress.graph.node(attempt.key),
        flow=progress.run.flow,
        then=progress.graph.next_executors[node_key(attempt.key)],
        arguments=arguments,
        config=progress.config_text,
        config_yaml=progress.config_yaml,
        config_digest=progress.run.config_digest,
    )


def unreadable(error: NotStorable) -> ErrorInfo:
    """Why a task whose inputs cannot be read fails."""
    return ErrorInfo(type="NotStorable", message=str(error), hint=error.hint, permanent=True)


def no_executor(name: str, known: Iterable[str]) -> ErrorInfo:
    """Why a task for an executor that is not there fails."""
    return ErrorInfo(
        type="NoExecutor",
        message=f"there is no executor {name!r}",
        hint=f"choose one of {', '.join(known)}",
        permanent=True,
    )


def _too_heavy(key: str, why: str) -> ErrorInfo:
    return ErrorInfo(
        type="TooHeavy",
        message=f"{key} can never start: {why}",
        hint="give it less weight, or the pool more slots",
        permanent=True,
    )

"""A claim: an attempt that a worker has begun, with everything that it takes to run it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flows.core import values
from flows.core.errors import NotStorable
from flows.core.graph import Node, node_key
from flows.core.progress import Progress
from flows.core.records import Attempt, ErrorInfo


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


def arguments_of(progress: Progress, key: str) -> str:
    """The inputs of a task run as JSON text. Raises NotStorable."""
    try:
        return values.dumps(progress.arguments(key))
    except (LookupError, TypeError) as error:
        raise NotStorable(f"the inputs of {key} cannot be read: {error!r}") from error


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

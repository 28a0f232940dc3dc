"""A flow as data: tasks, what each takes from which, and when each may run.

A graph is built once, when its module is imported, and checked there and then: cycles,
unknown inputs and tasks that can never run are errors at import, not at 2 a.m. It is stored
with each run, so that a resumed run goes on as it was started.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from flows.core import values
from flows.core.errors import GraphError
from flows.core.retry import Retry

LONGEST_NAME = 150
"""Characters of a flow's name and of a task's key; a mapped child has its index after it."""
LONGEST_EXECUTOR, LONGEST_POOLS = 40, 990
"""Characters of an executor's name, and of the names of all pools of a flow."""
CONFIG = "<config>"
"""The name under which the run's config is an input."""


class RunIf(StrEnum):
    """The trigger rule: how the tasks before must have ended for this one to run."""

    ALL_SUCCEEDED = "all_succeeded"  # every one succeeded; the default
    NONE_FAILED = "none_failed"  # at least one succeeded, the rest were skipped: joins branches
    ANY_FAILED = "any_failed"  # at least one failed; for clean-up and repair
    ALL_DONE = "all_done"  # every one has ended, however


@dataclass(frozen=True, kw_only=True)
class Ref:
    """The value of another task (or the config), or a field inside it."""

    node: str  # task key, or CONFIG
    path: tuple[str | int, ...] = ()  # fields to follow

    def __str__(self) -> str:
        return ".".join(map(str, (self.node, *self.path)))


@dataclass(frozen=True, kw_only=True)
class Const:
    """A value that stands in the flow itself."""

    const: Any  # JSON data


@dataclass(frozen=True, kw_only=True)
class Many:
    """A list put together from several inputs."""

    items: tuple[Input, ...]


Input = Ref | Const | Many


@dataclass(frozen=True, kw_only=True)
class Condition:
    """All of these must hold: each a boolean value, as it is or negated."""

    literals: tuple[tuple[Ref, bool], ...]  # (value, what it must be)

    def __str__(self) -> str:
        return " and ".join(f"{'' if wanted else 'not '}{ref}" for ref, wanted in self.literals)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One task of a flow, as it is called there."""

    key: str  # unique in the flow; the task's name, with `-2` for a second call
    function: str  # dotted path of the task, `flows.retrain:train`
    inputs: dict[str, Input]  # parameter -> where its value comes from
    after: tuple[str, ...] = ()  # tasks to wait for without taking their value
    condition: Condition | None = None  # from `when`
    run_if: RunIf = RunIf.ALL_SUCCEEDED
    over: str | None = None  # the parameter that is mapped over a list, if any
    executor: str | None = None  # inline, threads, processes, ray; None: the run's default
    retry: Retry = Retry()
    timeout: float | None = None  # seconds; the attempt is ended after these
    cache: str | None = None  # code version; a task with equal inputs and version is reused
    pool: str = "default"  # whose slots it takes
    weight: int = 1  # how many of them
    resources: str | None = None  # parameter that says what it needs of a cluster: num_gpus, ...

    @cached_property
    def upstream(self) -> tuple[str, ...]:
        """Keys of the tasks that must have ended before this one is decided on."""
        found = dict.fromkeys(ref.node for i in self.inputs.values() for ref in references(i))
        found |= dict.fromkeys(self.after)
        if self.condition:
            found |= dict.fromkeys(ref.node for ref, _ in self.condition.literals)
        found.pop(CONFIG, None)
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The tasks of a flow, each after what it needs."""

    nodes: tuple[Node, ...]

    @cached_property
    def by_key(self) -> dict[str, Node]:
        """Nodes by their key."""
        return {node.key: node for node in self.nodes}

    @cached_property
    def downstream(self) -> dict[str, tuple[str, ...]]:
        """For each key, the tasks that wait for it."""
        found: dict[str, list[str]] = {node.key: [] for node in self.nodes}
        for node in self.nodes:
            for key in node.upstream:
                found[key].append(node.key)
        return {key: tuple(keys) for key, keys in found.items()}

    @cached_property
    def next_executors(self) -> dict[str, frozenset[str]]:
        """For each key, the executors that the tasks right after it ask for."""
        return {
            key: frozenset(e for k in after if (e := self.by_key[k].executor) is not None)
            for key, after in self.downstream.items()
        }

    @cached_property
    def pools(self) -> frozenset[str]:
        """The pools that its tasks name."""
        return frozenset(node.pool for node in self.nodes)

    @cached_property
    def text(self) -> str:
        """The graph as JSON text, as each of its runs stores it."""
        return values.dumps(self)

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """Tasks that nothing waits for."""
        return tuple(key for key, after in self.downstream.items() if not after)

    def node(self, task: str) -> Node:
        """The node of a task run's key; mapped children share their node."""
        return self.by_key[node_key(task)]


def node_key(task: str) -> str:
    """`extract` for `extract[3]` and for `extract`."""
    return task.partition("[")[0]


def child_key(key: str, index: int) -> str:
    """The key of a mapped task's child."""
    return f"{key}[{index}]"


def child_index(task: str) -> int | None:
    """3 for `extract[3]`, None for `extract`."""
    _, bracket, rest = task.partition("[")
    return int(rest[:-1]) if bracket else None


def references(source: Input) -> Iterator[Ref]:
    """All references inside an input."""
    if isinstance(source, Ref):
        yield source
    elif isinstance(source, Many):
        for item in source.items:
            yield from references(item)


def validated(nodes: tuple[Node, ...]) -> Graph:
    """The graph of `nodes` in an order that can be run.

    Raises:
        GraphError: no task at all, an unknown input, a cycle, or a task that can never run.
    """
    if not nodes:
        raise GraphError("a flow without tasks", hint="call at least one @task in its body")
    known = {node.key for node in nodes}
    for node in nodes:
        if values.fitted(node.key, LONGEST_NAME) != node.key:
            raise GraphError(f"{node.key[:80]!r} is too long a name for a task, or no text")
        if len(node.executor or "") > LONGEST_EXECUTOR:
            raise GraphError(f"{(node.executor or '')[:80]!r} is too long a name for an executor")
        for key in node.upstream:
            if key not in known:
                raise GraphError(f"task {node.key} waits for {key}, which is not in this flow")
    if sum(len(pool) + 1 for pool in {node.pool for node in nodes}) > LONGEST_POOLS:
        raise GraphError(
            "the names of its tasks' pools are too long together",
            hint=f"fewer pools, or shorter names: at most {LONGEST_POOLS} characters in all",
        )
    graph = Graph(nodes=_sorted(nodes))
    _refuse_unreachable(graph)
    return graph


def _sorted(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Kahn's algorithm, stable in the order of declaration."""
    placed: dict[str, Node] = {}
    waiting = list(nodes)
    while waiting:
        free = [n for n in waiting if all(key in placed for key in n.upstream)]
        if not free:
            raise GraphError(f"these tasks wait for each other: {_cycle(waiting)}")
        placed |= {n.key: n for n in free}
        waiting = [n for n in waiting if n.key not in placed]
    return tuple(placed.values())


def _cycle(nodes: list[Node]) -> str:
    by_key = {n.key: n for n in nodes}
    path = [nodes[0].key]
    while path.count(path[-1]) < 2:
        path.append(next(key for key in by_key[path[-1]].upstream if key in by_key))
    return " -> ".join(reversed(path[path.index(path[-1]) :]))


def _refuse_unreachable(graph: Graph) -> None:
    """A task that needs a value to be both true and false can never run."""
    required: dict[str, dict[Ref, bool]] = {}
    for node in graph.nodes:
        needs: dict[Ref, bool] = {}
        inherited = (
            [pair for key in node.upstream for pair in required[key].items()]
            if node.run_if is RunIf.ALL_SUCCEEDED
            else []
        )
        own = list(node.condition.literals) if node.condition else []
        for ref, wanted in [*inherited, *own]:
            if needs.setdefault(ref, wanted) is not wanted:
                raise GraphError(
                    f"task {node.key} can never run: it needs {ref} to be true and false",
                    hint="join branches with run_if='none_failed'",
                )
        required[node.key] = needs

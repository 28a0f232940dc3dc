"""How a flow is written: `@task`, `@flow`, `when`, and `.map`.

    @task(retry=Retry(attempts=3))
    def extract(snapshot: Snapshot) -> Dataset: ...

    @flow(config="retrain")
    def retrain(cfg: RetrainConfig) -> None:
        dataset = extract(poll(cfg.features))

Calling a task in the body of a flow builds the graph; nothing runs until a run does. Outside
of a flow, calling a task calls the function, so that it can be tested like any other. The
body is executed once, at import, on symbolic values: a field of a value is again a symbolic
value, checked against the annotations, and using one where Python needs to know it (`if`,
`for`, `+`) is refused with the way to write it instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Generic, TypeVar, get_args, get_type_hints, overload

from flows.core import values
from flows.core.annotations import fits, name_of
from flows.core.errors import ConfigError, GraphError
from flows.core.graph import CONFIG, LONGEST_NAME, Condition, Graph, Input, Node, Ref, RunIf
from flows.core.graph import validated as validated_graph
from flows.core.output import Output, input_of
from flows.core.pool import check_pool_name
from flows.core.retry import Retry
from flows.core.schedule import Schedule, Trigger

R = TypeVar("R")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Everything about a task that is not its function."""

    retry: Retry = Retry()
    timeout: timedelta | None = None  # the attempt is really ended after this
    executor: str | None = None  # inline, threads, processes, ray; None: the run's default
    run_if: RunIf = RunIf.ALL_SUCCEEDED
    cache: bool = False  # reuse the value of an equal earlier task
    version: str | None = None  # of the code, for `cache`; default: a digest of the source
    pool: str = "default"  # whose slots it takes
    weight: int = 1  # how many of them
    resources: str | None = None  # parameter with num_cpus, num_gpus, workers; None: one CPU


class Task(Generic[R]):
    """A function that can be a node of a flow."""

    def __init__(self, function: Callable[..., R], options: TaskOptions) -> None:
        if "after" in inspect.signature(function).parameters:
            raise GraphError(
                f"{function.__name__} has a parameter `after`, which says what a task waits for",
                hint="give the parameter another name",
            )
        self.function = function
        self.options = options
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function

    @property
    def path(self) -> str:
        """Dotted path, `flows.retrain:train`."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Add a node to the flow that is being built; outside of one, call the function."""
        draft = _draft.get()
        if draft is None:
            return self.function(*args, **kwargs)
        return draft.add(self, args, kwargs, mapped=False)  # type: ignore[return-value]

    def map(self, *args: Any, **kwargs: Any) -> list[R]:
        """Run once for each element of the first argument, a list known only at run time."""
        draft = _draft.get()
        if draft is None:
            return [self.function(item, *args[1:], **kwargs) for item in args[0]]
        return draft.add(self, args, kwargs, mapped=True)  # type: ignore[return-value]

    def code_version(self) -> str:
        """What `cache` compares: the given version, else a digest of the source.

        The source is all of the modules in which the function and the dataclasses that it takes
        and returns are written, so that a changed helper beside them counts. What is written in
        a notebook counts by itself.
        """
        if self.options.version is not None:
            return self.options.version
        try:
            sources = {_source(part) for part in (self.function, *_dataclasses(self.function))}
        except (OSError, TypeError) as error:
            raise GraphError(
                f"the source of {self.path} cannot be read, and cache needs its digest",
                hint="give the task a version: @task(cache=True, version='1')",
            ) from error
        return hashlib.sha256("\0".join(sorted(sources)).encode()).hexdigest()[:16]


def _source(part: Any) -> str:
    module = sys.modules.get(part.__module__)
    in_a_file = getattr(module, "__file__", None) and part.__module__ != "__main__"
    return inspect.getsource(module if module and in_a_file else part)


def _dataclasses(function: Callable[..., Any]) -> set[type]:
    """The dataclasses in a function's annotations, and in their fields'."""
    classes: set[type] = set()
    waiting = list(get_type_hints(function).values())
    while waiting:
        annotation = waiting.pop()
        waiting += get_args(annotation)
        is_class = isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
        if is_class and annotation not in classes:
            classes.add(annotation)
            waiting += get_type_hints(annotation).values()
    return classes


@overload
def task(function: Callable[..., R]) -> Task[R]: ...
@overload
def task(**options: Any) -> Callable[[Callable[..., R]], Task[R]]: ...
def task(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a function a task; options are the fields of `TaskOptions`.

    Raises:
        GraphError: an unknown option, or a timeout where the work cannot be ended.
        ConfigError: a pool that cannot be called so.
    """
    if function is not None:
        return Task(function, TaskOptions())
    known = {f.name for f in dataclasses.fields(TaskOptions)}
    if unknown := options.keys() - known:
        raise GraphError(
            f"@task has no option {sorted(unknown)[0]!r}", hint=f"known: {', '.join(sorted(known))}"
        )
    if "run_if" in options:
        options["run_if"] = RunIf(options["run_if"])
    if isinstance(options.get("timeout"), int | float):
        options["timeout"] = timedelta(seconds=options["timeout"])
    chosen = TaskOptions(**options)
    if chosen.timeout and chosen.executor in ("inline", "threads"):
        raise GraphError(
            f"a timeout needs work that can be ended, which {chosen.executor} cannot",
            hint="use executor='processes' (the default for a task with a timeout) or 'ray'",
        )
    if chosen.weight < 1:
        raise GraphError(f"a task's weight is at least 1, not {chosen.weight}")
    check_pool_name(chosen.pool)
    return lambda function: Task(function, chosen)


class When:
    """The branch that runs when its condition holds."""

    def __init__(self, literals: tuple[tuple[Ref, bool], ...]) -> None:
        self._literals = literals

    def then(self, *outputs: Any) -> None:
        """Run these tasks only when the condition holds."""
        draft = _draft.get()
        for output in outputs:
            if draft is None or not isinstance(output, Output) or output._ref.path:
                raise GraphError(
                    "then(...) takes calls of tasks, inside a flow",
                    hint="when(verdict.promote).then(promote(verdict))",
                )
            draft.require(output._ref.node, self._literals)


def when(*conditions: Any) -> When:
    """Branch on boolean values: all of them must hold; `~` negates one."""
    for condition in conditions:
        if not isinstance(condition, Output) or condition._annotation is not bool:
            shown = condition if isinstance(condition, Output) else type(condition).__name__
            raise GraphError(f"when(...) takes boolean values of tasks, not {shown}")
    return When(tuple((c._ref, c._wanted) for c in conditions))


class Flow:
    """A flow: its graph, and the config that it is run with."""

    def __init__(
        self,
        function: Callable[..., None],
        *,
        name: str,
        source: str,
        config: str | None = None,
        schedules: Mapping[str, Trigger | Schedule] | None = None,
        max_runs: int | None = None,
        exclusive: str | None = None,
        priority: int = 0,
    ) -> None:
        self.function = function
        self.name = name
        self.config = config  # conf/flow/<config>.yaml
        self.source = source  # dotted path, `flows.retrain:retrain`
        if values.fitted(name, LONGEST_NAME) != name:
            raise ConfigError(f"{name[:80]!r} is too long a name for a flow, or no text")
        if max_runs is not None and max_runs < 1:
            raise ConfigError(f"flow {name}: max_runs is at least 1, not {max_runs}")
        self.max_runs = max_runs  # as many of its runs may run at once
        self.exclusive = exclusive  # the key of its config by which a schedule waits for others
        self.priority = priority  # of its runs, where their schedule says nothing else
        self.schedules = tuple(_scheduled(self, *each) for each in (schedules or {}).items())
        self.__doc__ = function.__doc__
        self.config_type, self.graph, self.tasks = _build(function, name)

    def subject(self, config: Any) -> dict[str, str]:
        """What a run with this config is about, as its trigger says it: see `exclusive`."""
        about = config.get(self.exclusive) if isinstance(config, Mapping) else None
        return {} if about is None else {"subject": str(about)}

    def start(self, *overrides: str, **options: Any) -> Any:
        """Start a run in this process and return its handle; see `flows.notebook.launch`."""
        return _plugin("ratchet.launcher")(self, *overrides, **options)

    def __repr__(self) -> str:
        return f"<flow {self.name}: {' -> '.join(n.key for n in self.graph.nodes)}>"

    def _repr_html_(self) -> str:
        drawn: str = _plugin("ratchet.painter")(self.graph)
        return drawn


@overload
def flow(function: Callable[..., None]) -> Flow: ...
@overload
def flow(
    *,
    config: str | None = None,
    name: str | None = None,
    schedules: Mapping[str, Trigger | Schedule] | None = None,
    max_runs: int | None = None,
    exclusive: str | None = None,
    priority: int = 0,
) -> Callable[[Callable[..., None]], Flow]: ...
def flow(
    function: Callable[..., None] | None = None, *, name: str | None = None, **options: Any
) -> Any:
    """Make a function a flow: its body is executed here and now, to build the graph.

    Args:
        config: the file conf/flow/<config>.yaml, which the body's parameter is filled from.
        name: default: the function's.
        schedules: what makes it run by itself, by name: a trigger, or a Schedule with policies.
        max_runs: as many of its runs may run at once; None: any number.
        exclusive: a key of its config, such as `model`: while a run is open, no other schedule
            starts one with the same value there.
        priority: of its runs; of several that wait, the highest goes first.

    Raises:
        GraphError: the flow's shape is wrong; the sentence names the task and the reason.
        ConfigError: an option does not fit.
    """

    def build(body: Callable[..., None]) -> Flow:
        source = f"{body.__module__}:{body.__qualname__}"
        return Flow(body, name=name or body.__name__, source=source, **options)

    return build(function) if function is not None else build


def _scheduled(flow: Flow, name: str, given: Trigger | Schedule) -> Schedule:
    """A schedule that is declared beside its flow, with what stands around it filled in."""
    if not isinstance(given, Schedule | Trigger):
        raise ConfigError(
            f"schedule {name} of flow {flow.name} is {given!r}, which is no trigger",
            hint="write schedules={'nightly': Cron(cron='0 3 * * *')}",
        )
    schedule = given if isinstance(given, Schedule) else Schedule(trigger=given)
    if schedule.name not in ("", name) or schedule.flow not in ("", flow.name):
        raise ConfigError(
            f"schedule {name} of flow {flow.name} names itself {schedule.name or name}, "
            f"of flow {schedule.flow or flow.name}",
            hint="leave name and flow out: they are known from where it stands",
        )
    return dataclasses.replace(schedule, name=name, flow=flow.name, origin=flow.source)


class _Draft:
    """The nodes of the flow that is being built."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.tasks: dict[str, Task[Any]] = {}

    def add(
        self, task: Task[Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, mapped: bool
    ) -> Output:
        key = self._unused(task.__name__)
        after = kwargs.pop("after", ())
        hints = get_type_hints(task.function)
        signature = inspect.signature(task.function)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise GraphError(f"{key}: {error}") from None
        over = next(iter(given), None) if mapped else None
        expected = {name: hints.get(name, Any) for name in given}
        if over is not None:
            expected[over] = list[expected[over]]  # type: ignore[valid-type]
        inputs = {name: input_of(key, name, value, expected[name]) for name, value in given.items()}
        self.nodes[key] = _node(key, task, inputs, self._keys(key, after), over)
        self.tasks[key] = task
        self._refuse_values_of_skipped(self.nodes[key], hints)
        result = hints.get("return", Any)
        return Output(Ref(node=key), list[result] if mapped else result)  # type: ignore[valid-type]

    def require(self, key: str, literals: tuple[tuple[Ref, bool], ...]) -> None:
        node = self.nodes[key]
        before = node.condition.literals if node.condition else ()
        self.nodes[key] = dataclasses.replace(
            node, condition=Condition(literals=(*before, *literals))
        )

    def _unused(self, name: str) -> str:
        taken = sum(key == name or key.startswith(f"{name}-") for key in self.nodes)
        return f"{name}-{taken + 1}" if taken else name

    @staticmethod
    def _keys(key: str, after: Any) -> tuple[str, ...]:
        outputs = after if isinstance(after, tuple | list) else (after,)
        for output in outputs:
            if not isinstance(output, Output):
                raise GraphError(f"{key}: after= takes values of tasks, not {output!r}")
        return tuple(output._ref.node for output in outputs)

    def _refuse_values_of_skipped(self, node: Node, hints: Mapping[str, Any]) -> None:
        """A task that runs although something before it did not must take None for its value."""
        if node.run_if is RunIf.ALL_SUCCEEDED:
            return
        for name, source in node.inputs.items():
            optional = fits(type(None), hints.get(name, Any))
            if isinstance(source, Ref) and source.node != CONFIG and not optional:
                raise GraphError(
                    f"{node.key} runs {node.run_if}, so {name} may be missing",
                    hint=f"annotate it: {name}: {name_of(hints[name])} | None",
                )


def _plugin(group: str) -> Any:
    """What the installed distribution names for `group` (see docs/adr/0003)."""
    # Needed once in a process, and as slow to import as the rest of this file.
    from importlib.metadata import entry_points

    (found,) = entry_points(group=group, name="default")
    return found.load()


_draft: ContextVar[_Draft | None] = ContextVar("ratchet_draft", default=None)


def _build(
    function: Callable[..., None], name: str
) -> tuple[type | None, Graph, dict[str, Task[Any]]]:
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) > 1:
        raise GraphError(f"flow {name} takes {len(parameters)} parameters; one, its config, is all")
    config_type = hints.get(parameters[0]) if parameters else None
    if parameters and not dataclasses.is_dataclass(config_type):
        raise GraphError(
            f"flow {name} needs a dataclass as the type of {parameters[0]}",
            hint=f"def {name}(cfg: MyConfig) -> None",
        )
    draft = _Draft()
    token = _draft.set(draft)
    try:
        function(*[Output(Ref(node=CONFIG), config_type) for _ in parameters])
        graph = validated_graph(tuple(draft.nodes.values()))
    except GraphError as error:
        raise GraphError(f"flow {name}: {error}", hint=error.hint) from error
    finally:
        _draft.reset(token)
    return config_type if isinstance(config_type, type) else None, graph, draft.tasks


def _node(
    key: str, task: Task[Any], inputs: dict[str, Input], after: tuple[str, ...], over: str | None
) -> Node:
    options = task.options
    if options.resources is not None and options.resources not in inputs:
        raise GraphError(f"{key} has no input {options.resources!r}, which resources= names")
    return Node(
        key=key,
        function=task.path,
        inputs=inputs,
        after=after,
        run_if=options.run_if,
        over=over,
        executor=options.executor or ("processes" if options.timeout else None),
        retry=options.retry,
        timeout=options.timeout.total_seconds() if options.timeout else None,
        cache=task.code_version() if options.cache else None,
        pool=options.pool,
        weight=options.weight,
        resources=options.resources,
    )

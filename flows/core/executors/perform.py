"""Run one attempt: decode its arguments, call the function, encode what came of it."""

from __future__ import annotations

import importlib
import inspect
import json
import resource
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_type_hints

from flows.core import values
from flows.core.context import TaskContext, entered
from flows.core.errors import GiveUp, Halt, NotFound, Signal, Skip
from flows.core.executors.protocol import Outcome, OutcomeKind, Work
from flows.core.masking import mask
from flows.core.records import ErrorInfo, changed
from flows.core.values import message, storable

_WORK_FIELDS = tuple(name for name in Work.__dataclass_fields__ if name != "call")

LONGEST_NAME, LONGEST_TRACE = 400, 50_000
"""Characters kept of an exception; the whole of it is in the attempt's log."""


class Terminated(BaseException):
    """Raised in a running task that has been told to end."""

    from_outside = True  # by this, whoever raises the like in a task says that it is not the task's


def perform(work: Work, cpu: Callable[[], float] = time.thread_time) -> Outcome:
    """Run `work` here and say how it ended; raises nothing but what ends the process.

    `cpu` reads the processor time, in seconds, that is counted as the attempt's.
    """
    begun = cpu()
    with entered(_context(work)) as account:
        outcome = _ended(work)
    kept = outcome.kind is not OutcomeKind.FAILED
    return changed(
        outcome,
        cpu_seconds=cpu() - begun + account.cpu_seconds,
        gpu_seconds=account.gpu_seconds or None,
        assets=tuple(account.assets.values()) if kept else (),
        notices=tuple(account.notices.values()) if kept else (),
    )


def process_time() -> float:
    """Processor seconds of this process, all its threads, and its children that have ended."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _ended(work: Work) -> Outcome:
    try:
        function = work.call or resolve(work.function)
        value = values.dumps(function(**_arguments(function, work.arguments)))
        return Outcome(attempt_id=work.attempt_id, kind=OutcomeKind.SUCCEEDED, value=value)
    except Halt as halt:
        return _signalled(work, OutcomeKind.HALTED, halt)
    except Skip as skip:
        return _signalled(work, OutcomeKind.SKIPPED, skip)
    except BaseException as error:  # also sys.exit() and asyncio's cancellation: of the task alone
        if isinstance(error, KeyboardInterrupt) or hasattr(type(error), "from_outside"):
            raise
        return Outcome(attempt_id=work.attempt_id, kind=OutcomeKind.FAILED, error=describe(error))


def perform_text(payload: str) -> str:
    """`perform` for executors that carry text: a Work as JSON in, an Outcome as JSON out.

    Such an executor measures the processor time itself: the outcome holds only what was `spent`.
    """
    return outcome_to_text(perform(work_from_text(payload), cpu=lambda: 0.0))


def work_to_text(work: Work) -> str:
    """A Work as JSON text, without the in-process `call`."""
    return _to_text({name: getattr(work, name) for name in _WORK_FIELDS})


def work_from_text(text: str) -> Work:
    """The Work behind `work_to_text`."""
    return Work(**values.loads(text))


def outcome_to_text(outcome: Outcome) -> str:
    """An Outcome as JSON text."""
    return _to_text(values.to_json(outcome))


def outcome_from_text(text: str) -> Outcome:
    """The Outcome behind `outcome_to_text`."""
    outcome: Outcome = values.loads(text, Outcome)
    return outcome


def _to_text(data: values.Json) -> str:
    # Not values.dumps: what fits the store may be longer than its limit once it is quoted.
    return json.dumps(data, separators=(",", ":"))


def describe(error: BaseException) -> ErrorInfo:
    """An exception as data, with the convention of `hint` and `permanent`; raises nothing.

    All of it is storable, whatever the exception's own code does when it is asked.
    """
    return ErrorInfo(
        type=storable(type(error).__name__, LONGEST_NAME),
        message=_reason(error) if isinstance(error, GiveUp) else message(error),
        kinds=tuple(
            storable(f"{c.__module__}.{c.__qualname__}", LONGEST_NAME)
            for c in type(error).__mro__
            if c not in (object, BaseException)
        ),
        trace=storable(_trace(error), LONGEST_TRACE),
        hint=_hint(error),
        permanent=_attribute(error, "permanent") is True,
    )


def _trace(error: BaseException) -> str:
    try:
        return mask("".join(traceback.format_exception(error)))[-LONGEST_TRACE:]
    except Exception as failure:  # of a library's own traceback or source
        return f"the traceback cannot be read: {type(failure).__name__}"


def _attribute(error: BaseException, name: str) -> Any:
    """What an exception says by convention; of a class of somebody else's, who may raise."""
    try:
        return getattr(error, name, None)
    except Exception:
        return None


def _reason(signal: Signal) -> str:
    reason = _attribute(signal, "reason")  # none where a subclass does not call our __init__
    return message(signal if reason is None else reason)


def _hint(error: BaseException) -> str | None:
    hint = _attribute(error, "hint")
    return message(hint) if isinstance(hint, str) else None


def resolve(path: str) -> Callable[..., Any]:
    """The plain function behind `module:name`, without the @task around it."""
    module_name, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise NotFound(
            f"the task {path} cannot be found here: {error}",
            hint="was it renamed or moved since the run began? start a new run",
        ) from error
    function: Callable[..., Any] = getattr(found, "function", found)
    return function


def _signalled(work: Work, kind: OutcomeKind, signal: Signal) -> Outcome:
    """A signal is no error; but what to do next, and its kind, are kept as an error's are."""
    reason, hint, error = _reason(signal), _hint(signal), None
    told_as = _attribute(signal, "kind")
    kinds = (storable(told_as, LONGEST_NAME),) if isinstance(told_as, str) else ()
    if hint is not None or kinds:
        name = storable(type(signal).__name__, LONGEST_NAME)
        error = ErrorInfo(type=name, message=reason, kinds=kinds, hint=hint, permanent=True)
    return Outcome(attempt_id=work.attempt_id, kind=kind, reason=reason, error=error)


def _context(work: Work) -> TaskContext:
    return TaskContext(
        run_id=work.run_id,
        flow=work.flow,
        task=work.task,
        attempt=work.number,
        attempt_id=work.attempt_id,
        config_text=work.config,
        config_yaml=work.config_yaml,
        config_digest=work.config_digest,
    )


def _arguments(function: Callable[..., Any], text: str) -> dict[str, Any]:
    if text == "{}":
        return {}
    decoders = _decoders(function)
    return {name: decoders[name](data) for name, data in values.loads(text).items()}


@lru_cache(maxsize=1024)
def _decoders(function: Callable[..., Any]) -> dict[str, values.Decoder]:
    hints = get_type_hints(function)
    return {
        name: values.decoder(hints.get(name, Any))
        for name in inspect.signature(function).parameters
    }

"""Run one attempt: decode its arguments, call the function, encode what came of it."""

from __future__ import annotations

import importlib
import inspect
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, get_type_hints

from flows.core import values
from flows.core.context import TaskContext, entered
from flows.core.errors import GiveUp, Halt, NotFound, Skip
from flows.core.executors.protocol import Outcome, OutcomeKind, Work
from flows.core.records import ErrorInfo

_WORK_FIELDS = tuple(name for name in Work.__dataclass_fields__ if name != "call")

LONGEST_MESSAGE, LONGEST_TRACE = 10_000, 50_000
"""Characters kept of an exception; the whole of it is in the attempt's log."""


def perform(work: Work) -> Outcome:
    """Run `work` here and say how it ended; raises nothing but what ends the process."""
    cpu = time.thread_time()
    try:
        function = work.call or resolve(work.function)
        arguments = _arguments(function, work.arguments)
        with entered(_context(work)):
            value = values.dumps(function(**arguments))
        outcome = Outcome(attempt_id=work.attempt_id, kind=OutcomeKind.SUCCEEDED, value=value)
    except Halt as halt:
        outcome = _signalled(work, OutcomeKind.HALTED, halt.reason)
    except Skip as skip:
        outcome = _signalled(work, OutcomeKind.SKIPPED, skip.reason)
    except (Exception, SystemExit) as error:  # sys.exit() in a task fails the task alone
        outcome = Outcome(
            attempt_id=work.attempt_id, kind=OutcomeKind.FAILED, error=describe(error)
        )
    return replace(outcome, cpu_seconds=time.thread_time() - cpu)


def perform_text(payload: str) -> str:
    """`perform` for executors that carry text: a Work as JSON in, an Outcome as JSON out."""
    return outcome_to_text(perform(work_from_text(payload)))


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
    """An exception as data, with the convention of `hint` and `permanent`."""
    hint = getattr(error, "hint", None)
    return ErrorInfo(
        type=type(error).__name__,
        message=(error.reason if isinstance(error, GiveUp) else str(error))[:LONGEST_MESSAGE],
        kinds=tuple(
            f"{c.__module__}.{c.__qualname__}"
            for c in type(error).__mro__
            if c not in (object, BaseException)
        ),
        trace="".join(traceback.format_exception(error))[-LONGEST_TRACE:],
        hint=hint if isinstance(hint, str) else None,
        permanent=getattr(error, "permanent", False) is True,
    )


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


def _signalled(work: Work, kind: OutcomeKind, reason: str) -> Outcome:
    return Outcome(attempt_id=work.attempt_id, kind=kind, reason=reason)


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

"""Every error of the core, and the signals a task may raise.

    RatchetError                 one sentence, and the next thing to type
    ├── ConfigError              a setting is missing, unknown, or of the wrong type
    ├── GraphError               a flow's shape is wrong; found when it is built
    ├── NotStorable              a task's value is not a small typed value
    ├── NotFound                 there is no such flow, run or task
    │   └── Pruned               what belonged to the run was removed; its row and events remain
    ├── Refused                  the verb does not fit the state (retry of a running run)
    │   └── KeyReused            an idempotency key stands for another request
    ├── IllegalTransition        the lifecycle table has no such line
    ├── DataUnavailable          the feature store cannot be reached just now
    ├── StoreError               the state store cannot be read or written
    │   ├── StoreBusy            others are at it just now; the same call may work in a second
    │   ├── Outdated             this Ratchet is too old for the state store, or the store for it
    │   ├── RowRefused           one row cannot be kept as it is: its text is too long, or no text
    │   └── LeaseLost            another worker owns this work now; what we did is not recorded
    └── ExecutorError            an executor cannot take or end work
    Signal                       not errors: a task's way to say how the run goes on
    ├── Halt                     it worked, and decided not to go on; the run ends halted
    ├── Skip                     there is nothing to do; the run ends skipped
    └── GiveUp                   it failed, and no retry can help

Two attributes are a convention across all packages: ``hint`` (the next command or
action, one line) and ``permanent`` (a retry cannot help).
"""

from __future__ import annotations


class RatchetError(Exception):
    """One sentence that says what is wrong, and a hint that says what to do next."""

    permanent = True

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        """As a notebook shows it: the sentence and what to do next, without our own frames."""
        said = f"{type(self).__name__}: {self}"
        return [said] if self.hint is None else [said, f"next: {self.hint}"]


class ConfigError(RatchetError):
    """A setting is missing, unknown, or of the wrong type."""


class GraphError(RatchetError):
    """A flow's shape is wrong: a cycle, an unknown input, a type that does not fit."""


class NotStorable(RatchetError):
    """A value is not a small typed value that the state store can keep as JSON."""


class NotFound(RatchetError):
    """There is no flow, run, task or model of that name."""


class Pruned(NotFound):
    """What belonged to the run was removed by `ratchet prune`; its row and events remain."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"run {run_id} was pruned: its tasks, logs and config are gone",
            hint="start a new one: ratchet run FLOW",
        )


class Refused(RatchetError):
    """The verb does not fit the state that the thing is in."""


class KeyReused(Refused):
    """An idempotency key stands for another request than this one."""


class IllegalTransition(RatchetError):
    """The lifecycle table has no line for this status and event."""


class DataUnavailable(RatchetError):
    """The feature store cannot be reached just now."""

    permanent = False


class StoreError(RatchetError):
    """The state store cannot be read or written."""

    permanent = False


class StoreBusy(StoreError):
    """Others are at the state store just now; nothing was written."""


class Outdated(StoreError):
    """This Ratchet is too old for the state store, or the store too old for it."""

    permanent = True


class RowRefused(StoreError):
    """One row cannot be kept as it is; trying again changes nothing."""

    permanent = True


class LeaseLost(StoreError):
    """Another worker owns this work now; what we did with it is not recorded."""


def is_outage(error: Exception) -> bool:
    """Whether the state store itself failed, and not what it was given."""
    return isinstance(error, StoreError) and not isinstance(error, RowRefused)


class ExecutorError(RatchetError):
    """An executor cannot take or end a piece of work."""

    permanent = False


class Signal(Exception):
    """How a task says that the run goes on differently; the reason is one sentence."""

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Halt(Signal):
    """It worked, and decided not to go on: bad data, or a model that is not better."""

    def __init__(self, reason: str, *, hint: str | None = None, kind: str = "halted") -> None:
        """`kind` of the alert, for its routes: `bad_data`, `not_proven` or `awaits_approval`."""
        super().__init__(reason, hint=hint)
        self.kind = kind


class Skip(Signal):
    """There is nothing to do, and the reason says why."""


class GiveUp(Signal):
    """It failed, and no retry can help."""

    permanent = True

"""What a flow is written with: tasks, conditions, retries.

from flows import Retry, flow, task, when
"""

from flows.core.context import TaskContext, current
from flows.core.errors import GiveUp, Halt, RatchetError, Skip
from flows.core.flow import Flow, Task, flow, task, when
from flows.core.graph import RunIf
from flows.core.retry import Backoff, Retry, RetryRule

__all__ = [
    "Backoff",
    "Flow",
    "GiveUp",
    "Halt",
    "RatchetError",
    "Retry",
    "RetryRule",
    "RunIf",
    "Skip",
    "Task",
    "TaskContext",
    "current",
    "flow",
    "task",
    "when",
]

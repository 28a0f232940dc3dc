"""What a flow is written with: tasks, conditions, retries, and the schedules that start it.

from flows import Cron, Retry, flow, task, when
"""

from flows.core.context import TaskContext, current, noticed, produced
from flows.core.errors import GiveUp, Halt, RatchetError, Skip
from flows.core.flow import Flow, Task, flow, task, when
from flows.core.graph import RunIf
from flows.core.retry import Backoff, Retry, RetryRule
from flows.core.schedule import (
    Cron,
    Deadline,
    Interval,
    Late,
    Missed,
    NewData,
    OnAsset,
    OnRequest,
    Overlap,
    Schedule,
)

__all__ = [
    "Backoff",
    "Cron",
    "Deadline",
    "Flow",
    "GiveUp",
    "Halt",
    "Interval",
    "Late",
    "Missed",
    "NewData",
    "OnAsset",
    "OnRequest",
    "Overlap",
    "RatchetError",
    "Retry",
    "RetryRule",
    "RunIf",
    "Schedule",
    "Skip",
    "Task",
    "TaskContext",
    "current",
    "flow",
    "noticed",
    "produced",
    "task",
    "when",
]

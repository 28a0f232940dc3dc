"""What can go wrong between a snapshot and a verdict.

RayJobError
├── UnfitData         the rows cannot train a model, or cannot judge one
├── FeatureError      a feature function, a join or a column of the config does not work
├── UnknownName       a dotted path that is not allowed, or that leads nowhere
├── TrainingFailed    the estimator refused its parameters or its data
├── Unexpected        code of the user's or of a library raised what nobody foresaw
└── WorkerLost        a process that trained or extracted died; a retry may help
"""

import sysconfig
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from ray_jobs.errors import RayJobError

P = ParamSpec("P")
T = TypeVar("T")

_OUTSIDE = {"ray", "mlflow", "sqlalchemy", "requests", "urllib3", "botocore", "grpc"}
_OURS = tuple(
    str(Path(__file__).parents[1] / name)
    for name in ("flows", "feature_store", "ray_jobs", "registry")
)
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")})


class UnfitData(RayJobError):
    """The rows cannot train a model or cannot judge one; other data may."""

    permanent = True


class FeatureError(RayJobError):
    """A feature function, a join or a column of the features config does not work."""

    permanent = True


class UnknownName(RayJobError):
    """A dotted path is outside the allowed modules, or nothing has this name."""

    permanent = True


class TrainingFailed(RayJobError):
    """The estimator refused its parameters or its data."""

    permanent = True


class Unexpected(RayJobError):
    """Code of the user's or of a library raised what nobody foresaw; it would do so again."""

    permanent = True


class WorkerLost(RayJobError):
    """A process that trained or extracted died before it was done; a retry may help."""


def final(function: Callable[P, T]) -> Callable[P, T]:
    """The function, whose unforeseen errors are Unexpected, with the user's own line.

    What says of itself whether a retry helps is left as it is, and so is what may be an outage.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if hasattr(error, "permanent") or _may_pass(error):
                raise
            hint = "the whole trace: ratchet logs RUN; once it is mended: ratchet retry RUN"
            if isinstance(error, MemoryError):
                hint = "set trainer.memory (GiB) where a node has that much, or use fewer rows"
            raise Unexpected(f"{first_line(error)}{users_line(error)}", hint=hint) from error

    return call


def _may_pass(error: Exception) -> bool:
    """Whether it comes from storage, a database, the network or Ray: an outage may end."""
    tops = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return isinstance(error, OSError) or bool(tops & _OUTSIDE)


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where that says more than the text alone."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if line and (isinstance(error, (ValueError, TypeError)) or hasattr(error, "permanent")):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def users_line(error: BaseException) -> str:
    """Where in the user's own code an error was raised: " (module.py, line 7, in fit: ...)"."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame)]
    if not frames:
        return ""
    frame = frames[-1]
    text = f": {frame.line}" if frame.line else ""
    name = frame.filename.rpartition("/")[2]
    return f" ({name}, line {frame.lineno}, in {frame.name}{text})"


def _is_users(frame: traceback.FrameSummary) -> bool:
    """Neither Ratchet's, nor a library's, nor Python's own."""
    file = frame.filename
    ours = any(file.startswith(f"{folder}/") for folder in (*_OURS, *_LIBRARIES))
    return not ours and (file.endswith(".py") or file.startswith("<_"))

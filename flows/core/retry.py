"""When a failed attempt is tried again: a policy as frozen data, and pure decisions over it.

What the words mean:

- `attempts` counts tries, the first included: `Retry(attempts=3)` fails for good with the
  third failure. The default is one try.
- An error is tried again unless it is permanent, `never` names it, `on` names others only,
  or the tries are used up; in that order. Permanent is what carries `permanent = True`:
  every error of Ratchet that only a person can repair, and `flows.core.errors.GiveUp`,
  which is how a task opts out of its retries.
- An exception is named by its class or by its dotted name (`requests.ConnectionError`); a
  bare name (`TimeoutError`) is any class of that name. Naming a class names its subclasses.
- The first of `rules` that names the error replaces the whole policy for that decision,
  `lost` excepted. Failures are counted over all errors of the task, whichever rule decided.
- The wait before the next try follows `backoff`, is never longer than `cap`, and is then
  shortened by up to `jitter` of itself. The share is a hash of the attempt's id, not a
  random number: asking twice, or again after a crash, gives the same time, while attempts
  that failed together are spread out all the same.
- An attempt that was lost (its worker or machine died) has not failed. It is started again
  at once, up to `lost` times, and uses up none of `attempts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from flows.core.errors import ConfigError
from flows.core.records import ErrorInfo

if TYPE_CHECKING:  # what may be given
    ExceptionName = type[BaseException] | str
    ExceptionNames = ExceptionName | tuple[type[BaseException] | str, ...]
else:  # what is kept, and what the codec builds
    ExceptionName = str
    ExceptionNames = tuple[str, ...]

LONGEST = timedelta(days=365)
"""No wait is longer than this, also without a cap."""


class Backoff(StrEnum):
    """How the waits of one task run grow."""

    FIXED = "fixed"  # each wait is `delay`
    LINEAR = "linear"  # delay, 2 x delay, 3 x delay, ...
    EXPONENTIAL = "exponential"  # delay, factor x delay, factor^2 x delay, ...


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A retry policy; the module's docstring says what it does. Raises ConfigError."""

    attempts: int = 1  # tries in all, the first included; at least 1
    delay: timedelta | float = timedelta(0)  # wait after the first failure; a number is seconds
    backoff: Backoff = Backoff.FIXED  # how the wait grows
    factor: float = 2.0  # growth of the exponential backoff; at least 1
    cap: timedelta | float | None = None  # longest wait; a number is seconds
    jitter: float = 0.0  # share of the wait, 0 to 1, by which it may be shortened
    on: ExceptionNames = ()  # tried again; empty: every error
    never: ExceptionNames = ()  # not tried again
    rules: tuple[RetryRule, ...] = ()  # policies of their own for some errors
    lost: int = 3  # how often an attempt lost with its worker is started again

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "delay", _span(self.delay))
        keep(self, "cap", None if self.cap is None else _span(self.cap))
        keep(self, "backoff", _backoff(self.backoff))
        keep(self, "on", _names(self.on))
        keep(self, "never", _names(self.never))
        keep(self, "rules", tuple(self.rules))
        zero = timedelta(0)
        for fits, problem in (
            (self.attempts >= 1, f"attempts is {self.attempts}, and at least 1 is needed"),
            (zero <= _span(self.delay) <= LONGEST, f"delay is {self.delay}, not 0 to 365 days"),
            (self.cap is None or _span(self.cap) >= zero, f"cap is {self.cap}, below 0"),
            (self.factor >= 1, f"factor is {self.factor}, and at least 1 is needed"),
            (0 <= self.jitter <= 1, f"jitter is {self.jitter}, not a share from 0 to 1"),
            (self.lost >= 0, f"lost is {self.lost}, below 0"),
        ):
            if not fits:
                raise ConfigError(f"retry: {problem}")


@dataclass(frozen=True, kw_only=True)
class RetryRule:
    """For this exception, that policy."""

    exception: ExceptionName  # class or name
    retry: Retry  # decides alone when the exception matches

    def __post_init__(self) -> None:
        object.__setattr__(self, "exception", _name(self.exception))


@dataclass(frozen=True, kw_only=True)
class RetryAt:
    """Try again."""

    at: datetime  # not before this time


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """Do not try again."""

    reason: str  # one clause: `all 3 attempts failed`


Decision = RetryAt | GiveUp


def decide(policy: Retry, attempt: int, error: ErrorInfo, *, key: str, now: datetime) -> Decision:
    """Say whether, and when, a task is tried again after a failure.

    `attempt` is the number of failures so far, this one included (from 1); `key` is the id
    of the failed attempt, from which the jitter is derived.
    """
    policy = policy_for(policy, error)
    if error.permanent:
        return GiveUp(reason=f"{error.type} is permanent, a retry cannot help")
    if _any_matches(policy.never, error):
        return GiveUp(reason=f"the retry policy excludes {error.type}")
    if policy.on and not _any_matches(policy.on, error):
        return GiveUp(reason=f"the retry policy does not cover {error.type}")
    if attempt >= policy.attempts:
        tries = "its only attempt" if attempt == 1 else f"all {attempt} attempts"
        return GiveUp(reason=f"{tries} failed")
    return RetryAt(at=now + wait(policy, attempt, key=key))


def decide_lost(policy: Retry, lost: int, now: datetime) -> Decision:
    """Say whether a task is started again after its worker died.

    `lost` is the number of its attempts that were lost so far, this one included (from 1).
    """
    if lost > policy.lost:
        times = "once" if lost == 1 else f"{lost} times"
        return GiveUp(reason=f"its worker died under it {times}")
    return RetryAt(at=now)


def policy_for(policy: Retry, error: ErrorInfo) -> Retry:
    """The policy that decides over `error`: that of the first matching rule, or `policy`."""
    for rule in policy.rules:
        if _matches(rule.exception, error):
            return policy_for(rule.retry, error)
    return policy


def wait(policy: Retry, attempt: int, *, key: str) -> timedelta:
    """The wait after failure number `attempt` (from 1), jitter included.

    It lies in [(1 - jitter) x w, w] with w = min(backoff(attempt), cap).
    """
    longest = LONGEST if policy.cap is None else min(_span(policy.cap), LONGEST)
    seconds = min(_grown(policy, attempt), longest.total_seconds())
    return timedelta(seconds=seconds * (1 - policy.jitter * _share(key)))


def _grown(policy: Retry, attempt: int) -> float:
    delay = _span(policy.delay).total_seconds()
    if policy.backoff is Backoff.LINEAR:
        return delay * attempt
    if policy.backoff is Backoff.EXPONENTIAL and delay:
        try:
            return float(delay * policy.factor ** (attempt - 1))
        except OverflowError:
            return LONGEST.total_seconds()
    return delay


def _share(key: str) -> float:
    """A number in [0, 1) that depends on the key alone, evenly spread over keys."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def _any_matches(names: ExceptionNames, error: ErrorInfo) -> bool:
    return any(_matches(name, error) for name in _names(names))


def _matches(exception: ExceptionName, error: ErrorInfo) -> bool:
    name = _name(exception)
    if name in error.kinds or name == error.type:
        return True
    return "." not in name and any(kind.rpartition(".")[2] == name for kind in error.kinds)


def _span(value: timedelta | float) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=value)


def _backoff(value: str) -> Backoff:
    try:
        return Backoff(value)
    except ValueError:
        known = ", ".join(Backoff)
        raise ConfigError(f"retry: backoff is {value!r}, not one of {known}") from None


def _names(given: ExceptionNames | Iterable[ExceptionName]) -> tuple[str, ...]:
    return (_name(given),) if isinstance(given, str | type) else tuple(map(_name, given))


def _name(given: ExceptionName) -> str:
    if isinstance(given, type) and issubclass(given, BaseException):
        return f"{given.__module__}.{given.__qualname__}"
    if isinstance(given, str) and given:
        return given
    raise ConfigError(f"retry: {given!r} is neither an exception class nor a name of one")

"""A person changes the champion: the registry does it, and who waits for the model is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.bootstrap import Ratchet
from flows.core.records import Asset
from registry import AnswerKind, PromotionRefused

if TYPE_CHECKING:
    from registry import LedgerEntry, Registry


def approve(
    ratchet: Ratchet, models: Registry, model: str, version: str | None, *, actor: str, reason: str
) -> LedgerEntry:
    """Make a version that waits champion (None: the only one), and fire the schedules on it.

    Repeated after a crash by the same person, it completes what is missing, and nothing is done
    twice. Raises RegistryError, StoreError.
    """
    now = ratchet.clock.now()
    with _telling(ratchet, models, model):
        return models.approve(model, version, actor=actor, reason=reason, now=now)


def rollback(
    ratchet: Ratchet, models: Registry, model: str, version: str | None, *, actor: str, reason: str
) -> LedgerEntry:
    """Make an earlier version live again (None: the one before), and fire the schedules on it.

    Raises RegistryError, StoreError.
    """
    now = ratchet.clock.now()
    with _telling(ratchet, models, model):
        return models.rollback(model, version, actor=actor, reason=reason, now=now)


def adopt(
    ratchet: Ratchet, models: Registry, model: str, *, actor: str, reason: str
) -> LedgerEntry:
    """Accept what is there, and fire the schedules on it.

    An outsider's champion, or a history that was cut off.

    Raises RegistryError, StoreError.
    """
    now = ratchet.clock.now()
    with _telling(ratchet, models, model):
        return models.adopt(model, actor=actor, reason=reason, now=now)


def restore(
    ratchet: Ratchet, models: Registry, model: str, *, actor: str, reason: str
) -> LedgerEntry:
    """Undo what an outsider set, and fire the schedules on the model: it was another meanwhile.

    Raises RegistryError, StoreError.
    """
    now = ratchet.clock.now()
    with _telling(ratchet, models, model):
        return models.restore(model, actor=actor, reason=reason, now=now)


@contextmanager
def _telling(ratchet: Ratchet, models: Registry, model: str) -> Iterator[None]:
    """Tell of the new champion once, also when the change is refused as it was made before.

    A command that was killed after it had changed the champion has told nobody; the same again
    may find nothing left to change.
    """
    try:
        yield
    except PromotionRefused:
        _tell(ratchet, models, model)
        raise
    _tell(ratchet, models, model)


def _tell(ratchet: Ratchet, models: Registry, model: str) -> None:
    """Fire the schedules on the model, unless a run made this champion: that has told itself."""
    entries = models.entries(model)
    if not entries:
        return
    head = entries[-1]
    approved = any(
        answer.answer is AnswerKind.APPROVE
        and (answer.epoch + 1, answer.version) == (head.epoch, head.version)
        for answer in models.answers(model)
    )
    if approved or head.run_id is None:
        ratchet.service.store.assets.update(
            Asset(name=f"model:{model}", version=head.version),
            cause=f"{'approved' if approved else head.action.value}: epoch {head.epoch}",
            now=ratchet.clock.now(),
        )

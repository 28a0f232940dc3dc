"""A person changes the champion: the registry does it, and who waits for the model is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.bootstrap import Ratchet
from flows.core.records import Asset
from registry import AnswerKind, ExportFailed, PromotionRefused
from registry.champion import NO_VERSION

if TYPE_CHECKING:
    from registry import Registry


@contextmanager
def announced(ratchet: Ratchet, models: Registry, model: str) -> Iterator[None]:
    """In its block a person changes the champion; then the schedules on the model fire, once.

    Also when the change is refused as it was made before: a command that was killed after it had
    changed the champion has told nobody, and the same again may find nothing left to change.
    Raises StoreError.
    """
    try:
        yield
    except (PromotionRefused, ExportFailed):
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
            Asset(name=f"model:{model}", version=head.live or NO_VERSION),
            cause=f"{'approved' if approved else head.action.value}: epoch {head.epoch}",
            now=ratchet.clock.now(),
        )

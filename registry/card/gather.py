"""What a card holds besides the verdict, from the docket, the ledger and the registered versions.

What the registry does not know (a version that was deleted, a model of before) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from registry.card.calibration import Reliability
from registry.card.card import Card, Judging, Reign, Trained
from registry.errors import UnknownModel
from registry.ledger import LedgerEntry
from registry.nights.docket_store import DocketStore, NightEntry
from registry.verdict import Verdict

if TYPE_CHECKING:
    from registry.models import Models


def night_of(verdict: Verdict, dockets: DocketStore) -> NightEntry | None:
    """The night on which the verdict was reached; None when it was not kept."""
    nights = dockets.of_run_id(verdict.run_id, verdict.model) if verdict.run_id else ()
    same = [night for night in nights if night.verdict.challenger == verdict.challenger]
    return max(same or nights, key=lambda night: night.night, default=None)


def gathered(
    verdict: Verdict,
    *,
    dockets: DocketStore,
    entries: Iterable[LedgerEntry],
    models: Models | None,
    calibration: tuple[Reliability, ...] = (),
) -> Card:
    """The card of a verdict. `models`: none asks MLflow nothing, so nobody's training is told."""
    night = night_of(verdict, dockets)
    versions = _Versions(models, verdict.model)
    tonight = versions.tags(verdict.challenger if night is None else night.challenger)
    sides = [("challenger", verdict.challenger), ("champion", verdict.champion)]
    return Card(
        verdict=verdict,
        at=None if night is None else night.at,
        night=None if night is None else night.night,
        seal=None if night is None else night.hash,
        history=()
        if night is None
        else dockets.past_nights(verdict.model, verdict.epoch, until=night.night),
        year=None if night is None else night.docket.year,
        champion=_reign(verdict, entries),
        trained=tuple(
            _trained(role, version, tags)
            for role, version in sides
            if version is not None and (tags := versions.tags(version))
        ),
        judging=_judging(verdict, tonight),
        calibration=calibration,
    )


class _Versions:
    """What registered versions say of themselves, each asked once."""

    def __init__(self, models: Models | None, model: str) -> None:
        self._models, self._model = models, model
        self._known: dict[str, Mapping[str, str]] = {}

    def tags(self, version: str) -> Mapping[str, str]:
        """Its tags; empty when it is not registered."""
        if version not in self._known:
            self._known[version] = {}
            if self._models is not None:
                with suppress(UnknownModel):
                    self._known[version] = self._models.version(self._model, version).tags
        return self._known[version]


def _trained(role: str, version: str, tags: Mapping[str, str]) -> Trained:
    rows = tags.get("ratchet.train_rows", "")
    return Trained(
        version=version,
        role=role,
        run_id=tags.get("ratchet.trained_by", tags.get("ratchet.run")),
        estimator=tags.get("ratchet.estimator"),
        definition=tags.get("ratchet.definition"),
        view=tags.get("ratchet.view"),
        view_version=tags.get("ratchet.view_version"),
        dataset=tags.get("ratchet.dataset"),
        train_rows=int(rows) if rows.isdecimal() else None,
        train_from=_moment(tags.get("ratchet.train_from")),
        train_until=_moment(tags.get("ratchet.train_until")),
        labels_until=_moment(tags.get("ratchet.labels_until")),
        device=tags.get("ratchet.device"),
    )


def _judging(verdict: Verdict, tags: Mapping[str, str]) -> Judging:
    return Judging(
        view=tags.get("ratchet.view"),
        view_version=tags.get("ratchet.view_version"),
        sources=tags.get("ratchet.sources"),
        dataset=tags.get("ratchet.dataset"),
        holdout_from=_moment(tags.get("ratchet.holdout_from")),
        holdout_until=_moment(tags.get("ratchet.holdout_until")),
        rows=verdict.rows,
    )


def _reign(verdict: Verdict, entries: Iterable[LedgerEntry]) -> Reign | None:
    entry = next((entry for entry in entries if entry.epoch == verdict.epoch), None)
    if entry is None or verdict.champion is None:
        return None
    return Reign(
        version=entry.version,
        epoch=entry.epoch,
        action=entry.action.value,
        since=entry.at,
        actor=entry.actor,
    )


def _moment(text: str | None) -> datetime | None:
    with suppress(TypeError, ValueError):
        return datetime.fromisoformat(text)  # type: ignore[arg-type]
    return None

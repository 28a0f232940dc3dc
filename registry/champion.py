"""The champion alias in MLflow: read, moved, and what is known about it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from registry.errors import OutsiderChange, RegistryUnreachable
from registry.ledger import Ledger, LedgerEntry
from registry.mlflow_seam import MlflowSeam, translated
from registry.registered import Look, Registered

ALIAS = "champion"
NO_VERSION = "none"
"""What `ChampionStatus.outsider` says when somebody removed the alias."""


class Gone(StrEnum):
    """What became of a champion in MLflow, beside its alias."""

    MODEL = "model"
    """The registered model was deleted, or has another name now."""
    VERSION = "version"
    """The version was deleted."""
    REPLACED = "replaced"
    """The model was deleted or renamed, and made anew: the number names other files."""


@dataclass(frozen=True, kw_only=True)
class ChampionStatus:
    """The live version of a model, as the ledger says, and whether MLflow agrees."""

    model: str
    version: str | None
    """The champion; none before the first promotion, and after a retirement."""
    epoch: int
    """How often the champion has changed: the fence of the next promotion."""
    settled: bool
    """Whether MLflow's alias was seen to match; false while a promotion is pending."""
    outsider: str | None = None
    """The version that somebody else set the alias to (`none`: removed it); none: nobody did."""
    gone: Gone | None = None
    """What became of the champion itself in MLflow; none: it is there."""
    action: str | None = None
    reason: str | None = None
    run_id: str | None = None
    at: datetime | None = None
    """When it became champion."""

    def to_json(self) -> dict[str, Any]:
        """What `ratchet champion --json` shows; the keys are stable."""
        return {**vars(self), "at": None if self.at is None else self.at.isoformat()}

    @property
    def sound(self) -> bool:
        """Whether MLflow shows what the ledger says, or will once the entry is settled."""
        return self.outsider is None and self.gone is None


class Alias:
    """MLflow's side of the champion: one alias."""

    def __init__(self, seam: MlflowSeam) -> None:
        self._seam = seam

    def read(self, model: str) -> str | None:
        """The version that the alias names; None when there is no alias, or no model."""
        return _champion_of(self._seam.registered(model))

    def look(self, model: str, version: str | None = None) -> Registered | None:
        """What MLflow keeps of a model; `version`: whose digest is wanted."""
        return self._seam.registered(model, version)

    def move(self, entry: LedgerEntry) -> None:
        """Point the alias to the live version, and read it back."""
        with translated("MLflow"):
            if entry.live is None:
                self._seam.client.delete_registered_model_alias(entry.model, ALIAS)
            else:
                self._seam.client.set_registered_model_alias(entry.model, ALIAS, entry.live)
        seen = self.read(entry.model)
        if seen != entry.live:
            raise RegistryUnreachable(
                f"MLflow took the alias of {entry.model} to version {entry.live or 'none'} "
                f"but shows {seen or 'none'}."
            )


def status_seen(model: str, ledger: Ledger, look: Look) -> ChampionStatus:
    """What ledger and alias say together, for people to read.

    The ledger is read before and after the alias: a promotion appends its entry before it moves
    the alias, and would look like an outsider's change.
    """
    before = ledger.head(model)
    while True:
        seen = look(model, None if before is None else before.live)
        after = ledger.head(model)
        if after == before:
            return status_of(model, after, seen)
        before = after


def _champion_of(registered: Registered | None) -> str | None:
    return None if registered is None else registered.aliases.get(ALIAS)


def status_of(model: str, head: LedgerEntry | None, seen: Registered | None) -> ChampionStatus:
    """What ledger and MLflow say together. Pure.

    A settled entry whose alias differs, and a pending one whose alias is neither its own version
    nor the one before, mean that an outsider moved the alias.
    """
    alias = _champion_of(seen)
    if head is None:
        return ChampionStatus(model=model, version=None, epoch=0, settled=True, outsider=alias)
    expected = {head.live} if head.settled_at is not None else {head.live, head.previous_version}
    return ChampionStatus(
        model=model,
        version=head.live,
        epoch=head.epoch,
        settled=head.settled_at is not None,
        outsider=None if alias in expected else alias or NO_VERSION,
        gone=_gone(head, seen),
        action=head.action.value,
        reason=head.reason,
        run_id=head.run_id,
        at=head.at,
    )


def _gone(head: LedgerEntry, seen: Registered | None) -> Gone | None:
    if head.live is None:
        return None
    if seen is None:
        return Gone.MODEL
    if head.live not in seen.digests:
        return Gone.VERSION
    return None if same_files(head.digest, seen.digests[head.live]) else Gone.REPLACED


def same_files(one: str | None, other: str | None) -> bool:
    """Whether two digests may be of the same files; an unknown one may be of any."""
    return None in (one, other) or one == other


def refuse_outsider(status: ChampionStatus) -> None:
    """Raise OutsiderChange when MLflow does not show what the ledger says."""
    if status.sound:
        return
    says, out = way_out(status)
    raise OutsiderChange(says, hint=out)


def way_out(status: ChampionStatus) -> tuple[str, str]:
    """What is wrong with a champion that is not sound, and the command that leads out."""
    model, version, at = status.model, status.version, f"(epoch {status.epoch})"
    back, retire = f"ratchet rollback {model} --reason TEXT", f"ratchet champion {model} --retire"
    adopt, removed = f"ratchet champion {model} --adopt", status.outsider == NO_VERSION
    if status.gone is Gone.MODEL:
        return (
            f"MLflow has no model {model} any more, and the ledger says version {version} {at}: "
            "it was deleted or renamed.",
            f"name it {model} again, or go on without a champion: {retire}",
        )
    if status.gone is not None:
        replaced = status.gone is Gone.REPLACED
        became = (
            "is not the one that was promoted: the model was deleted or renamed, and made anew"
            if replaced
            else "was deleted in MLflow"
        )
        named = version if replaced and status.outsider is None else status.outsider
        return (
            f"The champion of {model} is gone: version {version} {at} {became}.",
            f"go back to the champion before: {back}, or go on without one: {retire}"
            if removed or named is None
            else f"accept version {named}, which the alias names: {adopt}, or: {retire}",
        )
    ours = "no champion" if version is None else f"version {version}"
    theirs = "was removed" if removed else f"names version {status.outsider}"
    undo = f"ratchet champion {model} --restore" if removed else "--restore to undo it"
    if version is None:
        undo = f"{retire} to undo it" if status.epoch else "remove the alias in MLflow"
    return (
        f"The champion alias of {model} {theirs}, but the ledger says {ours} {at}: "
        "somebody else changed it.",
        f"{undo}, or {back}" if removed else f"{adopt}, or {undo}",
    )

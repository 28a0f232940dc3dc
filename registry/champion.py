"""The champion alias in MLflow: read, moved, and what is known about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from registry.errors import OutsiderChange, RegistryUnreachable
from registry.ledger import Ledger, LedgerEntry
from registry.mlflow_seam import MlflowSeam, translated
from registry.registered import Look, Registered

ALIAS = "champion"
NO_VERSION = "none"
"""What `ChampionStatus.outsider` says when somebody removed the alias."""


@dataclass(frozen=True, kw_only=True)
class ChampionStatus:
    """The live version of a model, as the ledger says, and whether MLflow agrees."""

    model: str
    version: str | None
    """The champion; none before the first promotion."""
    epoch: int
    """How often the champion has changed: the fence of the next promotion."""
    settled: bool
    """Whether MLflow's alias was seen to match; false while a promotion is pending."""
    outsider: str | None = None
    """The version that somebody else set the alias to (`none`: removed it); none: nobody did."""
    action: str | None = None
    reason: str | None = None
    run_id: str | None = None
    at: datetime | None = None
    """When it became champion."""

    def to_json(self) -> dict[str, Any]:
        """What `ratchet champion --json` shows; the keys are stable."""
        return {**vars(self), "at": None if self.at is None else self.at.isoformat()}


class Alias:
    """MLflow's side of the champion: one alias."""

    def __init__(self, seam: MlflowSeam) -> None:
        self._seam = seam

    def read(self, model: str) -> str | None:
        """The version that the alias names; None when there is no alias, or no model."""
        return _champion_of(self._seam.registered(model))

    def move(self, entry: LedgerEntry) -> None:
        """Point the alias to the entry's version, and read it back."""
        with translated("MLflow"):
            self._seam.client.set_registered_model_alias(entry.model, ALIAS, entry.version)
        seen = self.read(entry.model)
        if seen != entry.version:
            raise RegistryUnreachable(
                f"MLflow took the alias of {entry.model} to version {entry.version} "
                f"but shows {seen or 'none'}."
            )


def status_seen(model: str, ledger: Ledger, look: Look) -> ChampionStatus:
    """What ledger and alias say together, for people to read.

    The ledger is read before and after the alias: a promotion appends its entry before it moves
    the alias, and would look like an outsider's change.
    """
    before = ledger.head(model)
    while True:
        alias, after = _champion_of(look(model)), ledger.head(model)
        if after == before:
            return status_of(model, after, alias)
        before = after


def _champion_of(registered: Registered | None) -> str | None:
    return None if registered is None else registered.aliases.get(ALIAS)


def status_of(model: str, head: LedgerEntry | None, alias: str | None) -> ChampionStatus:
    """What ledger and alias say together. Pure.

    A settled entry whose alias differs, and a pending one whose alias is neither its own version
    nor the one before, mean that an outsider moved the alias.
    """
    if head is None:
        return ChampionStatus(model=model, version=None, epoch=0, settled=True, outsider=alias)
    expected = (
        {head.version} if head.settled_at is not None else {head.version, head.previous_version}
    )
    return ChampionStatus(
        model=model,
        version=head.version,
        epoch=head.epoch,
        settled=head.settled_at is not None,
        outsider=None if alias in expected else alias or NO_VERSION,
        action=head.action.value,
        reason=head.reason,
        run_id=head.run_id,
        at=head.at,
    )


def refuse_outsider(status: ChampionStatus) -> None:
    """Raise OutsiderChange when somebody else moved the alias."""
    if status.outsider is None:
        return
    ours = "no champion" if status.version is None else f"version {status.version}"
    theirs = "was removed" if status.outsider == NO_VERSION else f"names version {status.outsider}"
    raise OutsiderChange(
        f"The champion alias of {status.model} {theirs}, but the ledger says {ours} "
        f"(epoch {status.epoch}): somebody else changed it.",
        hint=f"ratchet champion {status.model} --adopt, or --restore to undo it",
    )

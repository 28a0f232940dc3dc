"""Promotion as a fenced compare-and-set: the ledger first, then the alias, then the settlement.

1. The entry of epoch `expected + 1` is appended; the database lets one writer through.
2. The alias `champion` is moved in MLflow and read back.
3. The entry is settled.

A crash between any two leaves a pending entry. The same promotion repeated, the next one, or
`reconcile` completes it: nobody appends to a pending ledger. MLflow has no compare-and-set of its
own, so processes take turns by a lock beside the ledger while they move the alias; an outsider's
change is noticed, never overwritten, and must be acknowledged by `adopt` or `restore`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from registry.champion import Alias, ChampionStatus, refuse_outsider, status_of
from registry.errors import PromotionRefused, StaleEpoch
from registry.history import History
from registry.ledger import LEDGER, Action, Beside, Change, EpochTaken, Ledger, LedgerEntry
from registry.locks import exclusive
from registry.verdict import Decision, Verdict, verdict_json

if TYPE_CHECKING:
    from registry.models import Models


class Promotions:
    """Changes the champion of a model; every method may be repeated after a crash."""

    def __init__(
        self, ledger: Ledger, history: History, alias: Alias, models: Models, lock_url: str
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._alias = alias
        self._models = models
        self._lock_url = lock_url

    def champion(self, model: str) -> ChampionStatus:
        """Who is live; changes nothing."""
        return status_of(model, self._ledger.head(model), self._alias.read(model))

    def promote(self, verdict: Verdict, *, actor: str, now: datetime) -> LedgerEntry:
        """Make the verdict's challenger champion if the epoch is still the verdict's.

        The same run again gets its own entry back, also when others followed. Raises StaleEpoch
        when another promotion came first, OutsiderChange when the alias was moved by somebody
        else, LedgerBroken when rows were altered or cut off, PromotionRefused when the verdict is
        to hold.
        """
        if not verdict.promote:
            raise PromotionRefused(f"The gate holds {verdict.model}: {verdict.reason}")
        return self._promote(verdict, actor, verdict.reason, now)

    def promote_approved(
        self, verdict: Verdict, *, actor: str, reason: str, now: datetime, beside: Beside
    ) -> LedgerEntry:
        """The same for a verdict that waited, because `actor` said so.

        `beside` writes the answer in the transaction of the entry, and may raise to undo both.
        """
        if verdict.decision is not Decision.AWAIT:
            raise PromotionRefused(f"The verdict on {verdict.model} waits for nobody.")
        return self._promote(verdict, actor, reason, now, beside)

    def _promote(
        self,
        verdict: Verdict,
        actor: str,
        reason: str,
        now: datetime,
        beside: Beside | None = None,
    ) -> LedgerEntry:
        model, version = verdict.model, verdict.challenger
        with exclusive(self._lock_url, f"champion-{model}"):
            made = self._of_run(model, verdict.run_id, version)
            if made is not None:
                return self._complete(made, now) if made == self._ledger.head(model) else made
            self._history.check(model)
            head = self._settled_head(model, now)
            if (head.epoch if head else 0) != verdict.epoch:
                raise stale(verdict, head)
            change = Change(
                model=model,
                version=version,
                previous_version=head.version if head else None,
                action=Action.PROMOTE,
                verdict=verdict_json(verdict),
                run_id=verdict.run_id or None,
                actor=actor,
                reason=reason,
                at=now,
            )
            return self._change(change, verdict.epoch, now, beside)

    def rollback(
        self,
        model: str,
        to_version: str | None = None,
        *,
        actor: str,
        reason: str,
        now: datetime,
        expected_epoch: int | None = None,
        run_id: str | None = None,
    ) -> LedgerEntry:
        """Make another version champion: the one before, or `to_version` (also a newer one).

        A rollback that a crash left pending is completed and returned, not followed by another; so
        is one to `to_version` that the same run made before. Raises PromotionRefused when there is
        nothing to go back to, StaleEpoch when the champion is no longer that of `expected_epoch`.
        """
        with exclusive(self._lock_url, f"champion-{model}"):
            pending = self._ledger.head(model)
            head = self._settled_head(model, now)
            if head is None:
                raise PromotionRefused(f"{model} has no champion to roll back.")
            made = self._of_run(model, run_id, to_version, Action.ROLLBACK)
            if made is not None:
                return made
            if _is_same_rollback(pending, to_version):
                return head
            if expected_epoch is not None and expected_epoch != head.epoch:
                raise StaleEpoch(
                    f"The champion of {model} is that of epoch {head.epoch}, not of "
                    f"{expected_epoch}: it changed meanwhile.",
                    hint=f"ratchet champion {model}",
                )
            version = to_version or _version_before(model, self._ledger.entries(model))
            if version == head.version:
                raise PromotionRefused(f"Version {version} of {model} is the champion already.")
            change = Change(
                model=model,
                version=version,
                previous_version=head.version,
                action=Action.ROLLBACK,
                verdict=None,
                run_id=run_id,
                actor=actor,
                reason=reason,
                at=now,
            )
            return self._change(change, head.epoch, now)

    def adopt(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Acknowledge what is there: it gets an entry, and is the champion from now on.

        An outsider's champion, or a history without the end that MLflow remembers. Comparisons
        that were open begin anew.
        """
        with exclusive(self._lock_url, f"champion-{model}"):
            status, alias = self.champion(model), self._alias.read(model)
            whole = status.outsider is None and self._history.lost(model) is None
            if whole or alias is None:
                raise PromotionRefused(
                    f"There is nothing to adopt: the alias of {model} "
                    + ("names no version." if alias is None else "is the ledger's."),
                    hint=f"ratchet champion {model} --restore" if alias is None else None,
                )
            return self._acknowledge(
                status, alias, status.version, Action.ADOPT, actor, reason, now
            )

    def restore(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Undo an outsider's change: the ledger's champion is live again, and an entry says so.

        Raises LedgerBroken where rows were cut off: then it is the ledger that lags behind.
        """
        with exclusive(self._lock_url, f"champion-{model}"):
            self._history.check(model)
            status, alias = self.champion(model), self._alias.read(model)
            if status.outsider is None or status.version is None:
                raise PromotionRefused(
                    f"There is nothing to restore: the alias of {model} "
                    + ("is the ledger's." if status.version else "has no ledger yet."),
                    hint=None if status.version else f"ratchet champion {model} --adopt",
                )
            return self._acknowledge(
                status, status.version, alias, Action.RESTORE, actor, reason, now
            )

    def reconcile(self, models: Iterable[str] = (), *, now: datetime) -> tuple[ChampionStatus, ...]:
        """Complete what a crash left pending, for these models or all; outsiders are reported."""
        found = []
        for model in tuple(models) or self._ledger.models():
            with exclusive(self._lock_url, f"champion-{model}"):
                head, status = self._ledger.head(model), self.champion(model)
                if head is not None and not status.settled and status.outsider is None:
                    self._complete(head, now)
                    status = self.champion(model)
                found.append(status)
        return tuple(found)

    def _of_run(
        self,
        model: str,
        run_id: str | None,
        version: str | None,
        action: Action = Action.PROMOTE,
    ) -> LedgerEntry | None:
        if not run_id or not version:
            return None
        return self._ledger.of_run(model, run_id, action, version)

    def _settled_head(self, model: str, now: datetime) -> LedgerEntry | None:
        """The latest entry, completed; raises OutsiderChange, LedgerBroken."""
        self._ledger.check(model)
        head = self._ledger.head(model)
        refuse_outsider(status_of(model, head, self._alias.read(model)))
        return head if head is None else self._complete(head, now)

    def _change(
        self, change: Change, expected_epoch: int, now: datetime, beside: Beside | None = None
    ) -> LedgerEntry:
        self._models.version(change.model, change.version)  # UnknownModel before it is written.
        try:
            entry = self._ledger.append(change, expected_epoch, beside)
        except EpochTaken:
            raise StaleEpoch(
                f"Epoch {expected_epoch + 1} of {change.model} is taken: another promotion "
                "came first.",
                hint="compare the challenger with the new champion: run the flow again",
            ) from None
        return self._complete(entry, now)

    def _complete(self, entry: LedgerEntry, now: datetime) -> LedgerEntry:
        """Move the alias where that is still to be done, and settle."""
        if entry.settled_at is not None:
            return entry
        alias = self._alias.read(entry.model)
        refuse_outsider(status_of(entry.model, entry, alias))
        if alias != entry.version:
            self._alias.move(entry)
        self._history.remember(entry.model, LEDGER)
        self._ledger.settle(entry, now)
        return LedgerEntry(**{**vars(entry), "settled_at": now})

    def _acknowledge(
        self,
        status: ChampionStatus,
        version: str,
        previous: str | None,
        action: Action,
        actor: str,
        reason: str,
        now: datetime,
    ) -> LedgerEntry:
        self._ledger.check(status.model)
        change = Change(
            model=status.model,
            version=version,
            previous_version=previous,
            action=action,
            verdict=None,
            run_id=None,
            actor=actor,
            reason=reason,
            at=now,
        )
        entry = self._change(change, status.epoch, now)
        if action is Action.ADOPT:
            self._history.adopt(status.model)
        return entry


def stale(verdict: Verdict, head: LedgerEntry | None) -> StaleEpoch:
    """Why a verdict is too old for the champion of `head`."""
    now = "there is none" if head is None else f"it is version {head.version} (epoch {head.epoch})"
    return StaleEpoch(
        f"Version {verdict.challenger} of {verdict.model} was compared with the champion of epoch "
        f"{verdict.epoch}, but {now}.",
        hint="compare the challenger with the new champion: run the flow again",
    )


def _is_same_rollback(pending: LedgerEntry | None, to_version: str | None) -> bool:
    """Whether a crash interrupted the rollback that is asked for now."""
    return (
        pending is not None
        and pending.settled_at is None
        and pending.action is Action.ROLLBACK
        and to_version in {None, pending.version}
    )


def _version_before(model: str, entries: Iterable[LedgerEntry]) -> str:
    """The champion before the present one, not counting those that were rolled back from."""
    line: list[str] = []
    for entry in entries:
        if entry.action is Action.ROLLBACK and entry.version in line:
            del line[line.index(entry.version) + 1 :]
        elif not line or line[-1] != entry.version:
            line.append(entry.version)
    if len(line) < 2:
        raise PromotionRefused(
            f"{model} had no champion before version {line[-1]}.",
            hint=f"ratchet rollback {model} --to VERSION",
        )
    return line[-2]

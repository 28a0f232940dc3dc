"""Promotion as a fenced compare-and-set: the ledger first, then the alias, then the settlement.

1. The entry of epoch `expected + 1` is appended; the database lets one writer through.
2. The alias `champion` is moved in MLflow and read back.
3. The entry is settled.

A crash between any two leaves a pending entry. The same promotion repeated, the next one, or
`reconcile` completes it: nobody appends to a pending ledger. MLflow has no compare-and-set of its
own, so processes take turns by a lock beside the ledger while they move the alias; an outsider's
change is noticed, never overwritten, and must be acknowledged by `adopt` or `restore`. A champion
that was deleted in MLflow is left by `rollback`, or by `retire`, which works in every state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from registry.champion import (
    ALIAS,
    NO_VERSION,
    Alias,
    ChampionStatus,
    Gone,
    refuse_outsider,
    same_files,
    status_of,
    way_out,
)
from registry.errors import PromotionRefused, StaleEpoch
from registry.history import History
from registry.ledger import LEDGER, Action, Beside, Change, EpochTaken, Ledger, LedgerEntry
from registry.locks import Held, exclusive
from registry.registered import DIGEST_TAG
from registry.succession import champion_before, reigned
from registry.verdict import Decision, Verdict, verdict_json

if TYPE_CHECKING:
    from registry.models import Models


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One process's turn to change the champion of a model."""

    now: datetime
    held: Held


class Promotions:
    """Changes the champion of a model; every method may be repeated after a crash."""

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        alias: Alias,
        models: Models,
        lock_url: str,
        *,
        refused: Callable[[str], Mapping[str, str]],
    ) -> None:
        """`refused`: model -> the versions that are not to be promoted, and why."""
        self._ledger = ledger
        self._history = history
        self._alias = alias
        self._models = models
        self._lock_url = lock_url
        self._refused = refused

    def champion(self, model: str) -> ChampionStatus:
        """Who is live; changes nothing."""
        head = self._ledger.head(model)
        seen = self._alias.look(model, None if head is None else head.live)
        return status_of(model, head, seen)

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
        with self._turn(model, now) as turn:
            made = self._of_run(model, verdict.run_id, version)
            if made is not None:
                return self._complete(made, turn) if made == self._ledger.head(model) else made
            self._history.check(model)
            head = self._settled_head(model, turn)
            if (head.epoch if head else 0) != verdict.epoch:
                raise stale(verdict, head)
            if version in (why := self._refused(model)):
                raise PromotionRefused(
                    f"Version {version} of {model} {why[version]}.",
                    hint=f"ratchet ledger {model}; after a rollback it may be let back: "
                    f"ratchet release {model} {version} --reason TEXT",
                )
            change = Change(
                model=model,
                version=version,
                previous_version=head.live if head else None,
                action=Action.PROMOTE,
                verdict=verdict_json(verdict),
                run_id=verdict.run_id or None,
                actor=actor,
                reason=reason,
                at=now,
            )
            return self._change(change, verdict.epoch, turn, beside)

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
        force: bool = False,
    ) -> LedgerEntry:
        """Make another version champion: the one before, or `to_version` (also a newer one).

        Repeated, it changes nothing more: where the last change was this rollback, or where no
        version is named and it was one, its entry is completed and returned; so is one to
        `to_version` that the same run made before. It leads out where the champion's version was
        deleted, or its alias removed. `force`: also to a version that never was champion.

        Raises PromotionRefused when there is nothing to go back to, StaleEpoch when the champion
        is no longer that of `expected_epoch`, OutsiderChange when the alias names another version,
        or where it was removed and a run asks, no person.
        """
        with self._turn(model, now) as turn:
            made = self._of_run(model, run_id, to_version, Action.ROLLBACK)
            self._ledger.check(model)
            head = self._ledger.head(model)
            if head is None:
                raise PromotionRefused(f"{model} has no champion to roll back.")
            status, alias = self._seen(head)
            by_a_person = run_id is None
            passed_over = {None, NO_VERSION} if by_a_person else {None}
            if status.outsider not in passed_over or status.gone is Gone.MODEL:
                refuse_outsider(status)
            if status.sound:
                head = self._complete(head, turn)
            if made is not None:
                return made
            if by_a_person and status.sound and _is_repeated(head, to_version, expected_epoch):
                return head
            if expected_epoch is not None and expected_epoch != head.epoch:
                raise StaleEpoch(
                    f"The champion of {model} is that of epoch {head.epoch}, not of "
                    f"{expected_epoch}: it changed meanwhile.",
                    hint=f"ratchet champion {model}",
                )
            version = self._target(model, to_version, force=force)
            if version == head.live and status.sound:
                raise PromotionRefused(f"Version {version} of {model} is the champion already.")
            change = Change(
                model=model,
                version=version,
                previous_version=head.live if status.sound else alias,
                action=Action.ROLLBACK,
                run_id=run_id,
                actor=actor,
                reason=reason,
                at=now,
            )
            return self._change(change, head.epoch, turn)

    def target(self, model: str, to_version: str | None = None) -> str | None:
        """The version that a rollback would make live; none: it would change nothing more."""
        head = self._ledger.head(model)
        if head is None:
            raise PromotionRefused(f"{model} has no champion to roll back.")
        if self._seen(head)[0].sound and _is_repeated(head, to_version, None):
            return None
        return self._target(model, to_version, force=True)

    def adopt(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Acknowledge what is there: it gets an entry, and is the champion from now on.

        An outsider's champion, a model that was made anew, or a history without the end that
        MLflow remembers. Comparisons that were open begin anew.
        """
        with self._turn(model, now) as turn:
            status, alias = self.champion(model), self._alias.read(model)
            whole = status.sound and self._history.lost(model) is None
            if whole or alias is None:
                raise PromotionRefused(
                    f"There is nothing to adopt: the alias of {model} "
                    + ("names no version." if alias is None else "is the ledger's."),
                    hint=None if status.sound else way_out(status)[1],
                )
            return self._acknowledge(
                status, alias, status.version, Action.ADOPT, actor, reason, turn
            )

    def restore(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Undo an outsider's change: the ledger's champion is live again, and an entry says so.

        Raises LedgerBroken where rows were cut off: then it is the ledger that lags behind.
        """
        with self._turn(model, now) as turn:
            self._history.check(model)
            status, alias = self.champion(model), self._alias.read(model)
            if status.gone is not None:
                refuse_outsider(status)
            if status.outsider is None or status.version is None:
                raise PromotionRefused(
                    f"There is nothing to restore: the alias of {model} "
                    + ("is the ledger's." if status.version else "has no champion in the ledger."),
                    hint=None if status.sound else way_out(status)[1],
                )
            return self._acknowledge(
                status, status.version, alias, Action.RESTORE, actor, reason, turn
            )

    def retire(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Take the champion out of service, in whatever state it is: no version is live.

        The next challenger that the gate passes is judged as a first one. Repeated, it changes
        nothing more.
        """
        with self._turn(model, now) as turn:
            self._ledger.check(model)
            head, alias = self._ledger.head(model), self._alias.read(model)
            if head is None:
                raise PromotionRefused(f"{model} has no champion to retire.")
            if head.live is None and alias is None:
                return self._complete(head, turn)
            change = Change(
                model=model,
                version=head.version,
                previous_version=alias,
                action=Action.RETIRE,
                actor=actor,
                reason=reason,
                at=now,
            )
            return self._appended(change, head.epoch, turn)

    def reconcile(self, models: Iterable[str] = (), *, now: datetime) -> tuple[ChampionStatus, ...]:
        """Complete what a crash left pending, for these models or all; the rest is reported."""
        found = []
        for model in tuple(models) or self._ledger.models():
            with self._turn(model, now) as turn:
                head, status = self._ledger.head(model), self.champion(model)
                if head is not None and not status.settled and status.sound:
                    self._complete(head, turn)
                    status = self.champion(model)
                found.append(status)
        return tuple(found)

    @contextmanager
    def _turn(self, model: str, now: datetime) -> Iterator[Turn]:
        with exclusive(self._lock_url, f"champion-{model}") as held:
            yield Turn(now=now, held=held)

    def _seen(self, head: LedgerEntry) -> tuple[ChampionStatus, str | None]:
        """How an entry stands, and what the alias names."""
        seen = self._alias.look(head.model, head.live)
        alias = None if seen is None else seen.aliases.get(ALIAS)
        return status_of(head.model, head, seen), alias

    def _target(self, model: str, to_version: str | None, *, force: bool) -> str:
        """Where a rollback goes. Raises PromotionRefused, UnknownModel."""
        entries = self._ledger.entries(model)
        if to_version is None:
            digests = {
                one.version: one.tags.get(DIGEST_TAG) for one in self._models.versions(model)
            }
            return champion_before(
                model,
                entries,
                lambda one: one.version in digests and same_files(one.digest, digests[one.version]),
            )
        digest = self._models.version(model, to_version).tags.get(DIGEST_TAG)
        if not force and not reigned(entries, to_version, digest):
            raise PromotionRefused(
                f"Version {to_version} of {model} never was champion: no gate has passed it.",
                hint=f"ratchet rollback {model} --to {to_version} --force --reason TEXT",
            )
        return to_version

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

    def _settled_head(self, model: str, turn: Turn) -> LedgerEntry | None:
        """The latest entry, completed; raises OutsiderChange, LedgerBroken."""
        self._ledger.check(model)
        head = self._ledger.head(model)
        if head is None:
            refuse_outsider(status_of(model, None, self._alias.look(model)))
            return None
        refuse_outsider(self._seen(head)[0])
        return self._complete(head, turn)

    def _change(
        self, change: Change, expected_epoch: int, turn: Turn, beside: Beside | None = None
    ) -> LedgerEntry:
        # UnknownModel before it is written.
        found = self._models.version(change.model, change.version)
        change = replace(change, digest=found.tags.get(DIGEST_TAG))
        return self._appended(change, expected_epoch, turn, beside)

    def _appended(
        self, change: Change, expected_epoch: int, turn: Turn, beside: Beside | None = None
    ) -> LedgerEntry:
        try:
            entry = self._ledger.append(change, expected_epoch, beside)
        except EpochTaken:
            raise StaleEpoch(
                f"Epoch {expected_epoch + 1} of {change.model} is taken: another promotion "
                "came first.",
                hint="compare the challenger with the new champion: run the flow again",
            ) from None
        return self._complete(entry, turn)

    def _complete(self, entry: LedgerEntry, turn: Turn) -> LedgerEntry:
        """Move the alias where that is still to be done, and settle."""
        if entry.settled_at is not None:
            return entry
        status, alias = self._seen(entry)
        refuse_outsider(status)
        if alias != entry.live:
            turn.held()
            self._alias.move(entry)
        self._history.remember(entry.model, LEDGER)
        self._ledger.settle(entry, turn.now)
        return replace(entry, settled_at=turn.now)

    def _acknowledge(
        self,
        status: ChampionStatus,
        version: str,
        previous: str | None,
        action: Action,
        actor: str,
        reason: str,
        turn: Turn,
    ) -> LedgerEntry:
        self._ledger.check(status.model)
        change = Change(
            model=status.model,
            version=version,
            previous_version=previous,
            action=action,
            actor=actor,
            reason=reason,
            at=turn.now,
        )
        entry = self._change(change, status.epoch, turn)
        if action is Action.ADOPT:
            self._history.adopt(status.model)
        return entry


def stale(verdict: Verdict, head: LedgerEntry | None) -> StaleEpoch:
    """Why a verdict is too old for the champion of `head`."""
    live = None if head is None else head.live
    now = "there is none" if head is None or live is None else f"it is version {live}"
    at = "" if head is None else f" (epoch {head.epoch})"
    return StaleEpoch(
        f"Version {verdict.challenger} of {verdict.model} was compared with the champion of epoch "
        f"{verdict.epoch}, but {now}{at}.",
        hint="compare the challenger with the new champion: run the flow again",
    )


def _is_repeated(head: LedgerEntry, to_version: str | None, expected_epoch: int | None) -> bool:
    """Whether the rollback that is asked for is the last change already."""
    return (
        head.action is Action.ROLLBACK
        and to_version in {None, head.version}
        and expected_epoch in {None, head.epoch - 1}
    )

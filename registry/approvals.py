"""Approval: a proven challenger that waits until a person agrees.

`awaiting` makes a verdict wait, with an expiry; the night's entry in the docket is the request.
`Approvals` says what waits and takes the answers (`registry.answers`): an approval promotes, fenced
by the epoch that the challenger was compared at; a rejected version is never proposed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.answers import ANSWERS, Answer, AnswerKind, AnswerStore, AnswerTaken, Reply
from registry.card.words import moment
from registry.errors import AlreadyAnswered, ApprovalExpired, NothingWaits, PromotionRefused
from registry.history import History
from registry.ledger import Ledger, LedgerBreak, LedgerEntry
from registry.locks import exclusive
from registry.nights.docket_store import DocketStore, Judgement
from registry.promotion import Promotions, stale
from registry.verdict import CaseState, Decision, Verdict, verdict_from_json

if TYPE_CHECKING:
    from registry.gate_config import ApprovalConfig
    from registry.models import Models


@dataclass(frozen=True, kw_only=True)
class ApprovalRequest:
    """A verdict that waits, or waited, for a person's answer."""

    model: str
    version: str
    """The challenger's."""
    champion: str | None
    """Version that it would take the place of; none: it would be the first."""
    epoch: int
    """The champion's: once it has changed, nothing waits any more."""
    run_id: str
    """The run that asked."""
    night: int
    """Of the docket, in which the verdict stands."""
    asked_at: datetime
    expires_at: datetime
    """An answer that comes later is refused."""
    verdict: Verdict

    @property
    def proof(self) -> str:
        """Why it is proposed: the verdict's reason, without what it waits for."""
        return self.verdict.proof


class Standing(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    """It may be approved or rejected."""
    ANSWERED = "answered"
    """Somebody did."""
    OUTDATED = "outdated"
    """The champion has changed since it was compared."""
    WITHDRAWN = "withdrawn"
    """A later night judged the version again, and does not propose it any more."""
    EXPIRED = "expired"
    """Nobody answered in time."""


def awaiting(verdict: Verdict, approval: ApprovalConfig, now: datetime) -> Verdict:
    """The verdict as it is, or waiting for a person where it would promote and one has to agree."""
    if not (approval.required and verdict.promote):
        return verdict
    asking = replace(
        verdict, decision=Decision.AWAIT, promote=False, expires_at=now + approval.expires_after
    )
    return replace(asking, reason=f"{verdict.reason} {asking.waits}")


def standing(
    request: ApprovalRequest,
    *,
    later: Iterable[Verdict],
    answers: Iterable[Answer],
    epoch: int,
    now: datetime,
) -> Standing:
    """Where a request stands. Pure.

    `later`: the verdicts of the nights after it; `answers`: all about its model; `epoch`: the
    champion's now.
    """
    if _answer_among(answers, request) is not None:
        return Standing.ANSWERED
    if epoch != request.epoch:
        return Standing.OUTDATED
    if any(_withdraws(verdict, request) for verdict in later):
        return Standing.WITHDRAWN
    return Standing.EXPIRED if now >= request.expires_at else Standing.WAITING


class Requests:
    """What waits for a person, and what was answered."""

    def __init__(self, ledger: Ledger, dockets: DocketStore, answers: AnswerStore) -> None:
        self._ledger = ledger
        self._dockets = dockets
        self._answers = answers

    def waiting(self, model: str | None = None, *, now: datetime) -> tuple[ApprovalRequest, ...]:
        """What may be answered now, of one model or of all; the newest request of each version."""
        found: list[ApprovalRequest] = []
        for name in (model,) if model is not None else self._dockets.models():
            epoch = self._epoch(name)
            judged = self._dockets.judgements(name, epoch=epoch)
            if not judged:
                continue
            answers = self._answers.of(name)
            newest = {request.version: request for request in _requests(judged)}
            found += [
                request
                for request in newest.values()
                if standing(
                    request, later=_after(judged, request), answers=answers, epoch=epoch, now=now
                )
                is Standing.WAITING
            ]
        return tuple(found)

    def answers(self, model: str) -> tuple[Answer, ...]:
        """All answers about a model, oldest first."""
        return self._answers.of(model)

    def verify(self, model: str) -> LedgerBreak | None:
        """The first answer that does not fit, or approval that lacks its promotion or answer."""
        broken = self._answers.verify(model)
        if broken is not None:
            return broken
        approved = {
            (answer.epoch + 1, answer.version): answer
            for answer in self._answers.of(model)
            if answer.answer is AnswerKind.APPROVE
        }
        for entry in self._ledger.entries(model):
            answer = approved.pop((entry.epoch, entry.version), None)
            if answer is None and _waited(entry):
                reason = f"the approval of version {entry.version} is missing"
                return LedgerBreak(model=model, epoch=entry.epoch, reason=reason)
        for (epoch, version), _ in sorted(approved.items()):
            reason = f"version {version} was approved, and its promotion is missing"
            return LedgerBreak(model=model, epoch=epoch, reason=reason)
        return None

    def _epoch(self, model: str) -> int:
        head = self._ledger.head(model)
        return 0 if head is None else head.epoch


class Approvals(Requests):
    """The answers to what waits; every method may be repeated after a crash."""

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        dockets: DocketStore,
        answers: AnswerStore,
        promotions: Promotions,
        models: Models,
        lock_url: str,
    ) -> None:
        super().__init__(ledger, dockets, answers)
        self._history = history
        self._promotions = promotions
        self._models = models
        self._lock_url = lock_url

    def approve(
        self, model: str, version: str | None, *, actor: str, reason: str, now: datetime
    ) -> tuple[ApprovalRequest, Answer, LedgerEntry]:
        """Make a waiting version champion; None: the only one that waits.

        Repeated by the same person, it converges to the same entry. Raises NothingWaits,
        ApprovalExpired, AlreadyAnswered, StaleEpoch, LedgerBroken where nights or answers were cut
        off, and what a promotion raises.
        """
        self._history.check(model)
        request = self._asked(model, version, now)
        reply = _reply(request, AnswerKind.APPROVE, actor, reason, now)
        given = self._given(request, now)
        if given is not None and given.answer is AnswerKind.REJECT:
            raise _answered(given)
        try:
            entry = self._promotions.promote_approved(
                request.verdict,
                actor=reply.actor,
                reason=f"{reply.reason.rstrip('.')}. The gate: {request.proof}",
                now=now,
                beside=lambda connection: self._answers.append_in(connection, reply),
            )
        except AnswerTaken:
            answer = self._answer_to(request)
            assert answer is not None
            raise _answered(answer) from None
        self._history.remember(model, ANSWERS)
        answer = self._answer_to(request)
        assert answer is not None
        if answer.actor != reply.actor or entry.epoch != self._epoch(model):
            raise _answered(answer)
        return request, answer, entry

    def reject(
        self, model: str, version: str | None, *, actor: str, reason: str, now: datetime
    ) -> tuple[ApprovalRequest, Answer]:
        """Let the champion stay, and never propose a waiting version again.

        Repeated by the same person, it converges to the same answer. Raises NothingWaits,
        ApprovalExpired, AlreadyAnswered, StaleEpoch.
        """
        request = self._asked(model, version, now)
        reply = _reply(request, AnswerKind.REJECT, actor, reason, now)
        # The lock of promotions: nobody approves meanwhile.
        with exclusive(self._lock_url, f"champion-{model}"):
            given = self._given(request, now) or self._answers.append(reply)
            self._history.remember(model, ANSWERS)
        if given.answer is not AnswerKind.REJECT or given.actor != reply.actor:
            raise _answered(given)
        return request, given

    def release(self, reign: LedgerEntry, *, actor: str, reason: str, now: datetime) -> bool:
        """Note that what was champion by `reign` may be proposed again; False: it was noted."""
        reply = Reply(
            model=reign.model,
            epoch=reign.epoch,
            version=reign.version,
            night=0,
            run_id=reign.run_id or "",
            answer=AnswerKind.RELEASE,
            actor=actor,
            reason=reason,
            at=now,
        )
        with exclusive(self._lock_url, f"champion-{reign.model}"):
            try:
                self._answers.append(reply)
            except AnswerTaken:
                return False
            finally:
                self._history.remember(reign.model, ANSWERS)
        return True

    def _asked(self, model: str, version: str | None, now: datetime) -> ApprovalRequest:
        """The newest request about a version, or the one in its place that was answered."""
        if version is None:
            return self._only(model, now)
        asked = [r for r in _requests(self._dockets.judgements(model)) if r.version == version]
        if asked:
            given = self._answer_to(asked[-1])
            answered = [r for r in asked if given is not None and r.night == given.night]
            return (answered or asked)[-1]
        self._models.version(model, version)  # UnknownModel
        head = self._ledger.head(model)
        live = head is not None and head.version == version
        why = "is the champion already" if live else "does not wait for approval"
        raise NothingWaits(f"Version {version} of {model} {why}.", hint="ratchet approve")

    def _only(self, model: str, now: datetime) -> ApprovalRequest:
        """The only request that waits, or the champion's, whose approval a crash may have cut."""
        waiting, head = self.waiting(model, now=now), self._ledger.head(model)
        if len(waiting) == 1:
            return waiting[0]
        if not waiting and head is not None and _waited(head):
            return self._asked(model, head.version, now)
        if not waiting:
            raise NothingWaits(f"Nothing of {model} waits for approval.", hint="ratchet approve")
        names = ", ".join(request.version for request in waiting)
        raise NothingWaits(
            f"Several versions of {model} wait for approval: {names}.",
            hint=f"name one of them: ratchet approve {model} {waiting[-1].version} --reason TEXT",
        )

    def _answer_to(self, request: ApprovalRequest) -> Answer | None:
        return _answer_among(self._answers.of(request.model), request)

    def _given(self, request: ApprovalRequest, now: datetime) -> Answer | None:
        """The answer to a request; None: it waits. Raises why it does not."""
        refusal = self._refusal(request, now)
        # Read last: who approves changes the epoch, and would look like a stranger's promotion.
        given = self._answer_to(request)
        if given is None and refusal is not None:
            raise refusal
        return given

    def _refusal(self, request: ApprovalRequest, now: datetime) -> PromotionRefused | None:
        head = self._ledger.head(request.model)
        judged = self._dockets.judgements(request.model, epoch=request.epoch)
        later = _after(judged, request)
        epoch = 0 if head is None else head.epoch
        found = standing(request, later=later, answers=(), epoch=epoch, now=now)
        name = f"version {request.version} of {request.model}"
        if found is Standing.OUTDATED:
            return stale(request.verdict, head)
        if found is Standing.WITHDRAWN:
            last = next(v for v in reversed(later) if _withdraws(v, request))
            return NothingWaits(
                f"The gate does not propose {name} any more: {last.reason}",
                hint=f"ratchet evidence {request.model}",
            )
        if found is Standing.EXPIRED:
            return ApprovalExpired(
                f"The approval of {name} expired on {moment(request.expires_at)}.",
                hint="run the flow again: what is still proven is proposed again",
            )
        return None


def _answer_among(answers: Iterable[Answer], request: ApprovalRequest) -> Answer | None:
    """The answer to a request, or the rejection of its version at any time."""
    for answer in answers:
        same_champion = answer.epoch == request.epoch
        if answer.version == request.version and (
            same_champion or answer.answer is AnswerKind.REJECT
        ):
            return answer
    return None


def _requests(judged: Iterable[Judgement]) -> tuple[ApprovalRequest, ...]:
    """The verdicts that ask, oldest first."""
    return tuple(
        ApprovalRequest(
            model=verdict.model,
            version=verdict.challenger,
            champion=verdict.champion,
            epoch=verdict.epoch,
            run_id=verdict.run_id,
            night=each.night,
            asked_at=each.at,
            expires_at=verdict.expires_at,
            verdict=verdict,
        )
        for each in judged
        if (verdict := each.verdict).decision is Decision.AWAIT and verdict.expires_at is not None
    )


def _after(judged: Iterable[Judgement], request: ApprovalRequest) -> Sequence[Verdict]:
    return [each.verdict for each in judged if each.night > request.night]


def _withdraws(verdict: Verdict, request: ApprovalRequest) -> bool:
    """Whether a later night's verdict speaks against the version."""
    if verdict.challenger == request.version:
        return verdict.decision is Decision.HOLD
    return any(
        note.challenger == request.version and note.state is CaseState.GIVEN_UP
        for note in verdict.cases
    )


def _waited(entry: LedgerEntry) -> bool:
    """Whether a person had to agree to this promotion."""
    if entry.verdict is None:
        return False
    return verdict_from_json(entry.verdict).decision is Decision.AWAIT


def _reply(
    request: ApprovalRequest, answer: AnswerKind, actor: str, reason: str, now: datetime
) -> Reply:
    if not reason.strip() or not actor.strip():
        raise PromotionRefused(
            "An answer needs a reason and a name, for the record.", hint="--reason TEXT --by NAME"
        )
    return Reply(
        model=request.model,
        epoch=request.epoch,
        version=request.version,
        night=request.night,
        run_id=request.run_id,
        answer=answer,
        actor=actor.strip(),
        reason=reason.strip(),
        at=now,
    )


def _answered(answer: Answer) -> AlreadyAnswered:
    said = "approved" if answer.answer is AnswerKind.APPROVE else "rejected"
    return AlreadyAnswered(
        f"Version {answer.version} of {answer.model} was {said} by {answer.actor} on "
        f"{moment(answer.at)}: {answer.reason}",
        hint=f"ratchet ledger {answer.model}",
    )

"""A verdict that waits: whoever answers, races or dies, one answer and at most one promotion."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from registry import PromotionRefused, Registry, RegistryConfig, StaleEpoch, Verdict, connect
from registry.answers import AnswerKind, AnswerStore
from registry.approvals import ApprovalRequest, awaiting
from registry.champion import Alias
from registry.errors import AlreadyAnswered, ApprovalExpired, NothingWaits, UnknownModel
from registry.gate_config import ApprovalConfig
from registry.history import History
from registry.ledger import Ledger
from registry.models import Models
from registry.nights.docket import Docket
from registry.verdict import CaseNote, CaseState, Decision

Verdicts = Callable[..., Verdict]
Versions = Callable[[int], list[str]]
ASKED = ApprovalConfig(required=True)


def judge(registry: Registry, verdict: Verdict, now: datetime) -> Verdict:
    """What a night of the flow leaves behind: its entry in the docket."""
    head = registry.docket(verdict.model)
    made = awaiting(verdict, ASKED, now)
    assert registry.keep_night(
        Docket(epoch=verdict.epoch),
        made,
        challenger=verdict.challenger,
        dataset="d",
        expected=0 if head is None else head.night,
        now=now,
    )
    return made


def names(found: tuple[ApprovalRequest, ...]) -> list[str]:
    return [request.version for request in found]


def alias(registry: Registry) -> str | None:
    found = registry.tracking._seam.client.get_registered_model("digits").aliases.get("champion")
    return None if found is None else str(found)


@pytest.fixture
def waits(registry: Registry, versions: Versions, verdict: Verdicts, now: datetime) -> Verdict:
    """Version 1 is champion, and version 2 waits for approval."""
    versions(4)
    registry.promote(verdict("1", 0), actor="flow retrain", now=now)
    return judge(registry, verdict("2", 1), now)


def test_an_approval_promotes_in_the_name_of_who_gave_it(
    registry: Registry, waits: Verdict, now: datetime
) -> None:
    (request,) = registry.waiting(now=now)
    assert (request.version, request.champion, request.epoch) == ("2", "1", 1)
    assert request.expires_at == now + timedelta(days=3)
    assert request.proof == "It is better."
    with pytest.raises(PromotionRefused, match=r"It waits for approval until 2026-05-04 03:00 UTC"):
        registry.promote(waits, actor="flow retrain", now=now)
    later = now + timedelta(hours=5)
    entry = registry.approve("digits", "2", actor="ann", reason="shadowed a week", now=later)
    assert (entry.epoch, entry.version, entry.actor, entry.at) == (2, "2", "ann", later)
    assert entry.reason == "shadowed a week. The gate: It is better."
    assert entry.run_id == "run-2"
    assert alias(registry) == "2"
    (answer,) = registry.answers("digits")
    assert (answer.answer, answer.actor, answer.reason) == ("approve", "ann", "shadowed a week")
    tags = registry.models.version("digits", "2").tags
    assert tags["ratchet.answer_by"] == "ann"
    assert registry.waiting(now=later) == ()
    assert registry.verify("digits") is None


def test_a_first_model_waits_as_well(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(1)
    judge(registry, verdict("1", 0), now)
    assert names(registry.waiting("digits", now=now)) == ["1"]
    entry = registry.approve("digits", actor="ann", reason="fine", now=now)
    assert (entry.epoch, entry.version, entry.previous_version) == (1, "1", None)


def test_a_rejection_changes_no_champion_and_is_for_ever(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    answer = registry.reject("digits", "2", actor="ann", reason="biased", now=now)
    assert (answer.answer, answer.number) == (AnswerKind.REJECT, 1)
    assert (alias(registry), set(registry.refused("digits"))) == ("1", {"2"})
    judge(registry, verdict("2", 1, "night-2"), now)  # a night that had begun before
    assert registry.waiting(now=now) == ()
    with pytest.raises(AlreadyAnswered, match="was rejected by ann on 2026-05-01 03:00 UTC: bias"):
        registry.approve("digits", "2", actor="bob", reason="why not", now=now)
    with pytest.raises(PromotionRefused, match="Version 2 of digits was rejected"):
        registry.promote(verdict("2", 1, "night-3"), actor="flow retrain", now=now)
    assert registry.reject("digits", "2", actor="ann", reason="again", now=now) == answer
    with pytest.raises(AlreadyAnswered):
        registry.reject("digits", "2", actor="bob", reason="me too", now=now)
    assert len(registry.entries("digits")) == 1
    assert registry.verify("digits") is None


def test_what_has_expired_is_refused_and_a_later_night_asks_again(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    late = now + timedelta(days=3)
    assert names(registry.waiting(now=late - timedelta(microseconds=1))) == ["2"]
    assert registry.waiting(now=late) == ()
    for answer in (registry.approve, registry.reject):
        with pytest.raises(ApprovalExpired, match="expired on 2026-05-04 03:00 UTC") as caught:
            answer("digits", "2", actor="ann", reason="late", now=late)
        assert "run the flow again" in str(caught.value.hint)
    judge(registry, verdict("2", 1, "night-2"), late)
    (request,) = registry.waiting(now=late)
    assert (request.run_id, request.night) == ("night-2", 2)
    assert registry.approve("digits", "2", actor="ann", reason="ok", now=late).run_id == "night-2"


def test_a_champion_that_changed_meanwhile_makes_it_stale(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    registry.promote(verdict("3", 1), actor="flow retrain", now=now)
    assert registry.waiting(now=now) == ()
    for answer in (registry.approve, registry.reject):
        with pytest.raises(StaleEpoch, match=r"of epoch 1, but it is version 3 \(epoch 2\)"):
            answer("digits", "2", actor="ann", reason="fine", now=now)
    assert registry.answers("digits") == ()
    assert alias(registry) == "3"


def test_a_later_night_that_speaks_against_it_withdraws_it(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    held = replace(verdict("2", 1, "night-2", promote=False), reason="It harms a slice.")
    judge(registry, held, now)
    assert registry.waiting(now=now) == ()
    with pytest.raises(NothingWaits, match=r"not propose version 2 .* any more: It harms a slice"):
        registry.approve("digits", "2", actor="ann", reason="fine", now=now)


def test_an_approval_that_was_rolled_back_is_not_repeated_as_if_it_were_live(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    registry.approve("digits", "2", actor="ann", reason="fine", now=now)
    registry.rollback("digits", actor="bob", reason="complaints", now=now)
    with pytest.raises(AlreadyAnswered, match="was approved by ann"):
        registry.approve("digits", "2", actor="ann", reason="fine", now=now)
    assert registry.release("digits", "2", actor="bob", reason="it was fixed", now=now)
    judge(registry, verdict("2", 3, "night-2"), now)  # against the champion that came back
    assert names(registry.waiting(now=now)) == ["2"]
    entry = registry.approve("digits", "2", actor="bob", reason="it was fixed", now=now)
    assert (entry.epoch, entry.version, alias(registry)) == (4, "2", "2")
    assert registry.verify("digits") is None


def test_a_command_that_is_repeated_goes_on_with_the_request_that_it_answered(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    entry = registry.approve("digits", "2", actor="ann", reason="fine", now=now)
    judge(registry, verdict("2", 1, "night-2"), now)  # a night that had begun before
    assert registry.approve("digits", "2", actor="ann", reason="fine", now=now) == entry


def test_a_version_that_is_given_up_meanwhile_waits_no_more(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    given_up = CaseNote(
        challenger="2", state=CaseState.GIVEN_UP, log_evidence=0.0, log_needed=9.0,
        rows=9, nights=2, fresh=9,
    )  # fmt: skip
    judge(registry, replace(verdict("3", 1, promote=False), cases=(given_up,)), now)
    assert registry.waiting(now=now) == ()
    with pytest.raises(NothingWaits):
        registry.reject("digits", "2", actor="ann", reason="fine", now=now)


def test_without_a_version_the_only_one_that_waits_is_meant(
    registry: Registry, waits: Verdict, verdict: Verdicts, now: datetime
) -> None:
    judge(registry, verdict("3", 1), now)
    with pytest.raises(NothingWaits, match="Several versions of digits wait for approval: 2, 3"):
        registry.approve("digits", actor="ann", reason="fine", now=now)
    registry.reject("digits", "3", actor="ann", reason="worse", now=now)
    assert registry.approve("digits", actor="ann", reason="fine", now=now).version == "2"
    # Again by the same person, as after a crash: the same entry. Others are told who was first.
    assert registry.approve("digits", actor="ann", reason="fine", now=now).epoch == 2
    with pytest.raises(AlreadyAnswered, match="was approved by ann"):
        registry.approve("digits", actor="bob", reason="fine", now=now)
    registry.rollback("digits", actor="ann", reason="slow", now=now)
    with pytest.raises(NothingWaits, match="Nothing of digits waits"):
        registry.approve("digits", actor="ann", reason="fine", now=now)


def test_what_never_waited_is_refused_with_what_it_is(
    registry: Registry, waits: Verdict, now: datetime
) -> None:
    with pytest.raises(NothingWaits, match="Version 1 of digits is the champion already"):
        registry.approve("digits", "1", actor="ann", reason="fine", now=now)
    with pytest.raises(NothingWaits, match="Version 3 of digits does not wait"):
        registry.reject("digits", "3", actor="ann", reason="fine", now=now)
    with pytest.raises(UnknownModel, match="Version 9 of digits"):
        registry.approve("digits", "9", actor="ann", reason="fine", now=now)
    with pytest.raises(PromotionRefused, match="needs a reason and a name"):
        registry.approve("digits", "2", actor="ann", reason=" ", now=now)
    assert registry.answers("digits") == ()


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs."""


def kill_at(patched: pytest.MonkeyPatch, owner: type, name: str, before: bool) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not before:
            original(*arguments, **named)
        raise Killed

    patched.setattr(owner, name, wrapped)


STEPS = [(Models, "version"), (AnswerStore, "append_in"), (Ledger, "append"), (Alias, "move")]
STEPS += [(History, "remember"), (Ledger, "settle"), (Models, "set_tags"), (Registry, "export")]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_killed_at_any_step_the_same_command_again_converges(
    config: RegistryConfig,
    registry: Registry,
    waits: Verdict,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    before: bool,
) -> None:
    with monkeypatch.context() as patched, connect(config) as dying:
        kill_at(patched, owner, step, before)
        with pytest.raises(Killed):
            dying.approve("digits", "2", actor="ann", reason="fine", now=now)
    promoted = len(registry.entries("digits")) == 2
    assert len(registry.answers("digits")) == promoted  # neither is there without the other
    registry.approve("digits", "2", actor="ann", reason="fine", now=now)
    status = registry.champion("digits")
    assert [entry.version for entry in registry.entries("digits")] == ["1", "2"]
    assert [answer.actor for answer in registry.answers("digits")] == ["ann"]
    assert (status.version, status.settled, alias(registry)) == ("2", True, "2")
    assert registry.models.version("digits", "2").tags["ratchet.answer"] == "approve"
    assert registry.verify("digits") is None


@pytest.mark.parametrize("step", ["append", "append_in"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_rejection_that_was_cut_off_is_there_or_not_and_can_be_repeated(
    registry: Registry,
    waits: Verdict,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    before: bool,
) -> None:
    with monkeypatch.context() as patched:
        kill_at(patched, AnswerStore, step, before)
        with pytest.raises(Killed):
            registry.reject("digits", "2", actor="ann", reason="biased", now=now)
    registry.reject("digits", "2", actor="ann", reason="biased", now=now)
    assert [answer.actor for answer in registry.answers("digits")] == ["ann"]
    assert registry.models.version("digits", "2").tags["ratchet.answer"] == "reject"
    assert registry.verify("digits") is None


def test_without_a_version_an_approval_that_was_cut_off_is_gone_on_with(
    registry: Registry, waits: Verdict, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        kill_at(patched, Alias, "move", before=True)
        with pytest.raises(Killed):
            registry.approve("digits", actor="ann", reason="fine", now=now)
    assert registry.waiting(now=now) == ()
    entry = registry.approve("digits", actor="ann", reason="fine", now=now)
    assert (entry.version, entry.settled_at, alias(registry)) == ("2", now, "2")


def test_a_restart_completes_an_approval_that_was_pending(
    config: RegistryConfig,
    registry: Registry,
    waits: Verdict,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        kill_at(patched, Alias, "move", before=True)
        with pytest.raises(Killed):
            registry.approve("digits", "2", actor="ann", reason="fine", now=now)
    with connect(config) as restarted:
        (status,) = restarted.reconcile(now=now)
    assert (status.version, status.settled, alias(registry)) == ("2", True, "2")


Races = Callable[[Callable[[Registry, str], object]], list[str]]


@contextmanager
def racing(config: RegistryConfig) -> Iterator[Races]:
    """Lets six people do the same at once; says what became of each."""

    def race(act: Callable[[Registry, str], object]) -> list[str]:
        people = [f"person-{number}" for number in range(6)]
        start, outcomes = threading.Barrier(len(people)), []

        def one(person: str) -> None:
            with connect(config) as mine:
                mine.champion("digits")
                start.wait()
                try:
                    act(mine, person)
                    outcomes.append("won")
                except PromotionRefused as refused:
                    outcomes.append(type(refused).__name__)

        threads = [threading.Thread(target=one, args=(person,)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    yield race


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(config: RegistryConfig, request: pytest.FixtureRequest) -> RegistryConfig:
    """The ledger in each database; MLflow's is the same."""
    if request.param == "sqlite":
        return config
    return replace(config, ledger_url=request.getfixturevalue("new_postgres")())


def waiting_in(config: RegistryConfig, verdict: Verdicts, now: datetime) -> None:
    with connect(config) as registry:
        registry.promote(verdict("1", 0), actor="flow retrain", now=now)
        judge(registry, verdict("2", 1), now)


def test_of_many_who_approve_at_once_one_does(
    ledger: RegistryConfig, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(2)
    waiting_in(ledger, verdict, now)
    with racing(ledger) as race:
        outcomes = race(
            lambda mine, who: mine.approve("digits", "2", actor=who, reason="fine", now=now)
        )
    assert sorted(outcomes) == ["AlreadyAnswered"] * 5 + ["won"]
    with connect(ledger) as registry:
        entries, (answer,) = registry.entries("digits"), registry.answers("digits")
        assert [entry.version for entry in entries] == ["1", "2"]
        assert entries[1].actor == answer.actor
        assert registry.verify("digits") is None


def test_of_those_who_approve_and_reject_at_once_one_is_heard(
    ledger: RegistryConfig, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(2)
    waiting_in(ledger, verdict, now)

    def act(mine: Registry, who: str) -> None:
        answer = mine.approve if int(who[-1]) % 2 else mine.reject
        answer("digits", "2", actor=who, reason="so", now=now)

    with racing(ledger) as race:
        outcomes = race(act)
    assert outcomes.count("won") == 1
    with connect(ledger) as registry:
        (answer,) = registry.answers("digits")
        approved = answer.answer is AnswerKind.APPROVE
        assert len(registry.entries("digits")) == 1 + approved
        assert set(registry.refused("digits")) == (set() if approved else {"2"})
        assert registry.verify("digits") is None


def test_an_approval_and_other_runs_promotions_meet_and_one_comes_first(
    ledger: RegistryConfig, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(6)
    waiting_in(ledger, verdict, now)

    def act(mine: Registry, who: str) -> None:
        number = int(who[-1])
        if number == 0:
            mine.approve("digits", "2", actor=who, reason="fine", now=now)
        elif number < 4:
            mine.promote(verdict(str(number + 2), 1), actor="flow retrain", now=now)
        else:
            raise PromotionRefused("it looks on")

    with racing(ledger) as race:
        outcomes = race(act)
    assert sorted(outcomes) == ["PromotionRefused"] * 2 + ["StaleEpoch"] * 3 + ["won"]
    with connect(ledger) as registry:
        assert len(registry.entries("digits")) == 2
        promoted = registry.entries("digits")[1].version
        assert len(registry.answers("digits")) == (promoted == "2")
        assert registry.verify("digits") is None


@contextmanager
def tampering(registry: Registry) -> Iterator[Any]:
    with registry._engine.begin() as connection:
        for table in ("approval_answer", "ledger_entry", "ledger_settlement"):
            for verb in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER {table}_no_{verb}"))
        yield connection


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE approval_answer SET reason = 'x'", "the content of answer 1 was changed"),
        ("UPDATE approval_answer SET actor = 'x'", "the content of answer 1 was changed"),
        ("DELETE FROM approval_answer", "the approval of version 2 is missing"),
    ],
)
def test_an_approval_that_was_altered_or_removed_is_found(
    registry: Registry, waits: Verdict, now: datetime, statement: str, reason: str
) -> None:
    registry.approve("digits", "2", actor="ann", reason="fine", now=now)
    with tampering(registry) as connection:
        connection.execute(text(statement))
    broken = registry.verify("digits")
    assert broken is not None
    assert reason in broken.reason


def test_the_verdict_in_the_ledger_is_the_one_that_waited(
    registry: Registry, waits: Verdict, now: datetime
) -> None:
    entry = registry.approve("digits", "2", actor="ann", reason="fine", now=now)
    told = entry.to_json()["verdict"]
    assert told["decision"] == Decision.AWAIT
    assert told["expires_at"] == "2026-05-04T03:00:00.000000+00:00"

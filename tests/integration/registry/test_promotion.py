"""Whatever is killed when, and whoever races: one entry, one alias, nothing overwritten."""

import multiprocessing
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text

from registry import (
    Action,
    OutsiderChange,
    PromotionRefused,
    Registry,
    RegistryConfig,
    StaleEpoch,
    UnknownModel,
    Verdict,
    connect,
)
from registry.champion import Alias
from registry.errors import LedgerBroken
from registry.history import History
from registry.ledger import Ledger
from registry.models import Models

Verdicts = Callable[..., Verdict]
Versions = Callable[[int], list[str]]


def alias(registry: Registry) -> str | None:
    """What a plain MLflow client sees."""
    found = registry.tracking._seam.client.get_registered_model("digits").aliases.get("champion")
    return None if found is None else str(found)


def set_alias(registry: Registry, version: str) -> None:
    registry.tracking._seam.client.set_registered_model_alias("digits", "champion", version)


def test_a_promotion_writes_entry_alias_settlement_and_tags(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(2)
    assert registry.champion("digits").version is None
    first = registry.promote(verdict("1", 0), actor="retrain", now=now)
    second = registry.promote(verdict("2", 1), actor="retrain", now=now)
    assert (first.epoch, second.epoch, second.previous_version) == (1, 2, "1")
    status = registry.champion("digits")
    assert (status.version, status.epoch, status.settled, status.outsider) == ("2", 2, True, None)
    assert alias(registry) == "2"
    assert registry.entries("digits") == (first, second)
    tags = registry.models.version("digits", "2").tags
    assert tags["ratchet.verdict"] == "promote"
    assert tags["ratchet.reason"] == "It is better."
    assert tags["ratchet.run"] == "run-2"
    assert tags["ratchet.difference"] == "0.1"
    assert registry.verify("digits") is None


def test_a_verdict_to_hold_is_never_promoted(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(1)
    with pytest.raises(PromotionRefused, match="The gate holds digits"):
        registry.promote(verdict("1", 0, promote=False), actor="me", now=now)
    assert registry.entries("digits") == ()


def test_a_verdict_of_an_earlier_epoch_is_stale(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(3)
    registry.promote(verdict("1", 0), actor="me", now=now)
    registry.promote(verdict("2", 1), actor="me", now=now)
    with pytest.raises(StaleEpoch, match=r"of epoch 1, but it is version 2 \(epoch 2\)") as caught:
        registry.promote(verdict("3", 1), actor="me", now=now)
    assert caught.value.permanent
    assert alias(registry) == "2"


def test_a_version_that_is_not_registered_is_refused_before_anything_is_written(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(1)
    with pytest.raises(UnknownModel, match="Version 9 of digits"):
        registry.promote(verdict("9", 0), actor="me", now=now)
    assert registry.entries("digits") == ()


def test_a_run_repeated_after_others_followed_gets_its_own_entry_back(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(2)
    first = registry.promote(verdict("1", 0), actor="me", now=now)
    registry.promote(verdict("2", 1), actor="me", now=now)
    assert registry.promote(verdict("1", 0), actor="me", now=now) == first
    assert alias(registry) == "2"


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs."""


STEPS = [(Models, "version"), (Ledger, "append"), (Alias, "move"), (History, "remember")]
STEPS += [(Ledger, "settle"), (Models, "set_tags")]


def kill_at(patched: pytest.MonkeyPatch, owner: type, name: str, before: bool) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not before:
            original(*arguments, **named)
        raise Killed

    patched.setattr(owner, name, wrapped)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_killed_at_any_step_the_same_run_again_converges(
    config: RegistryConfig,
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    before: bool,
) -> None:
    versions(2)
    registry.promote(verdict("1", 0), actor="me", now=now)
    with monkeypatch.context() as patched, connect(config) as dying:
        kill_at(patched, owner, step, before)
        with pytest.raises(Killed):
            dying.promote(verdict("2", 1), actor="me", now=now)
    seen = registry.champion("digits")
    assert seen.outsider is None
    registry.promote(verdict("2", 1), actor="me", now=now)
    status = registry.champion("digits")
    assert [entry.version for entry in registry.entries("digits")] == ["1", "2"]
    assert (status.version, status.settled, alias(registry)) == ("2", True, "2")
    assert registry.models.version("digits", "2").tags["ratchet.verdict"] == "promote"
    assert registry.verify("digits") is None


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), [(Alias, "move"), (History, "remember")])
def test_a_restart_completes_what_was_pending(
    config: RegistryConfig,
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    before: bool,
) -> None:
    versions(1)
    with monkeypatch.context() as patched:
        kill_at(patched, owner, step, before)
        with pytest.raises(Killed):
            registry.promote(verdict("1", 0), actor="me", now=now)
    assert not registry.champion("digits").settled
    with connect(config) as restarted:
        (status,) = restarted.reconcile(now=now)
    assert (status.version, status.settled, status.outsider) == ("1", True, None)
    assert alias(registry) == "1"


def test_the_next_promotion_completes_the_pending_one_first(
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions(2)
    with monkeypatch.context() as patched:
        kill_at(patched, Alias, "move", before=True)
        with pytest.raises(Killed):
            registry.promote(verdict("1", 0), actor="me", now=now)
    registry.promote(verdict("2", 1), actor="me", now=now)
    assert all(entry.settled_at is not None for entry in registry.entries("digits"))
    assert alias(registry) == "2"


def test_threads_racing_for_one_epoch_promote_exactly_one(
    config: RegistryConfig,
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
) -> None:
    names = versions(6)
    start, outcomes = threading.Barrier(len(names)), []

    def race(version: str) -> None:
        with connect(config) as mine:
            start.wait()
            try:
                outcomes.append(mine.promote(verdict(version, 0), actor="me", now=now).version)
            except StaleEpoch:
                outcomes.append(None)

    threads = [threading.Thread(target=race, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [version for version in outcomes if version]
    assert len(outcomes) == len(names)
    assert winners == [alias(registry)]
    assert [entry.version for entry in registry.entries("digits")] == winners


def promote_in_process(
    config: RegistryConfig, made: Verdict, now: datetime, start: Any, outcomes: Any
) -> None:
    with connect(config) as mine:
        mine.champion("digits")
        start.wait()
        try:
            outcomes.put(mine.promote(made, actor="me", now=now).version)
        except StaleEpoch:
            outcomes.put(None)


@pytest.mark.slow
def test_processes_racing_for_one_epoch_promote_exactly_one(
    config: RegistryConfig,
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
) -> None:
    names = versions(3)
    context = multiprocessing.get_context("spawn")
    start, outcomes = context.Barrier(len(names)), context.Queue()
    workers = [
        context.Process(
            target=promote_in_process, args=(config, verdict(name, 0), now, start, outcomes)
        )
        for name in names
    ]
    for worker in workers:
        worker.start()
    results = [outcomes.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join(timeout=300)
    winners = [version for version in results if version]
    assert winners == [alias(registry)]
    assert len(registry.entries("digits")) == 1


def test_an_outsiders_alias_stops_promotions_until_it_is_adopted(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(3)
    registry.promote(verdict("1", 0), actor="me", now=now)
    set_alias(registry, "3")
    status = registry.champion("digits")
    assert (status.version, status.outsider) == ("1", "3")
    with pytest.raises(OutsiderChange, match="names version 3, but the ledger says version 1"):
        registry.promote(verdict("2", 1), actor="me", now=now)
    assert alias(registry) == "3"
    entry = registry.adopt("digits", actor="ann", reason="hotfix", now=now)
    assert (entry.action, entry.version, entry.epoch) == (Action.ADOPT, "3", 2)
    assert registry.champion("digits").outsider is None
    registry.promote(verdict("2", 2), actor="me", now=now)
    assert alias(registry) == "2"


def test_an_outsiders_alias_is_undone_with_an_entry(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(2)
    registry.promote(verdict("1", 0), actor="me", now=now)
    set_alias(registry, "2")
    entry = registry.restore("digits", actor="ann", reason="not agreed", now=now)
    assert (entry.action, entry.version, entry.previous_version) == (Action.RESTORE, "1", "2")
    assert alias(registry) == "1"
    with pytest.raises(PromotionRefused, match="nothing to restore"):
        registry.restore("digits", actor="ann", reason="again", now=now)


def test_a_removed_alias_is_noticed_and_can_be_restored(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(1)
    registry.promote(verdict("1", 0), actor="me", now=now)
    registry.tracking._seam.client.delete_registered_model_alias("digits", "champion")
    assert registry.champion("digits").outsider == "none"
    with pytest.raises(PromotionRefused, match="nothing to adopt") as caught:
        registry.adopt("digits", actor="ann", reason="?", now=now)
    assert "--restore" in str(caught.value.hint)
    registry.restore("digits", actor="ann", reason="it was a slip", now=now)
    assert alias(registry) == "1"


def test_a_champion_from_before_ratchet_must_be_adopted_first(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(2)
    set_alias(registry, "1")
    assert registry.champion("digits").outsider == "1"
    with pytest.raises(OutsiderChange, match="the ledger says no champion"):
        registry.promote(verdict("2", 0), actor="me", now=now)
    registry.adopt("digits", actor="ann", reason="moved to Ratchet", now=now)
    assert registry.champion("digits").version == "1"
    registry.promote(verdict("2", 1), actor="me", now=now)


def test_an_outsider_who_meets_a_pending_promotion_is_not_overwritten(
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions(3)
    registry.promote(verdict("1", 0), actor="me", now=now)
    with monkeypatch.context() as patched:
        kill_at(patched, Alias, "move", before=True)
        with pytest.raises(Killed):
            registry.promote(verdict("2", 1), actor="me", now=now)
    set_alias(registry, "3")
    (status,) = registry.reconcile(now=now)
    assert (status.settled, status.outsider) == (False, "3")
    with pytest.raises(OutsiderChange):
        registry.promote(verdict("2", 1), actor="me", now=now)
    assert alias(registry) == "3"


def test_a_rollback_that_is_repeated_goes_back_once(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    for epoch, version in enumerate(versions(3)):
        registry.promote(verdict(version, epoch), actor="me", now=now)
    to_two = registry.rollback("digits", actor="ann", reason="complaints", now=now)
    assert (to_two.action, to_two.version, to_two.epoch) == (Action.ROLLBACK, "2", 4)
    again = registry.rollback("digits", actor="ann", reason="complaints", now=now)
    assert (again, alias(registry)) == (to_two, "2")
    assert registry.rollback("digits", "1", actor="ann", reason="more", now=now).version == "1"
    assert alias(registry) == "1"
    forward = registry.rollback("digits", "3", actor="ann", reason="it was fine", now=now)
    assert (forward.version, alias(registry)) == ("3", "3")
    assert registry.verify("digits") is None


def test_a_rollback_fenced_by_an_epoch_is_stale_when_the_champion_changed(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    for epoch, version in enumerate(versions(2)):
        registry.promote(verdict(version, epoch), actor="me", now=now)
    with pytest.raises(StaleEpoch, match="epoch 2, not of 1"):
        registry.rollback("digits", actor="ann", reason="x", now=now, expected_epoch=1)


@pytest.mark.parametrize(("owner", "step"), [(Alias, "move"), (History, "remember")])
def test_a_rollback_repeated_after_a_crash_goes_back_once(
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
) -> None:
    for epoch, version in enumerate(versions(3)):
        registry.promote(verdict(version, epoch), actor="me", now=now)
    with monkeypatch.context() as patched:
        kill_at(patched, owner, step, before=True)
        with pytest.raises(Killed):
            registry.rollback("digits", actor="ann", reason="bad", now=now)
    entry = registry.rollback("digits", actor="ann", reason="bad", now=now)
    assert (entry.version, entry.epoch, alias(registry)) == ("2", 4, "2")


@pytest.mark.parametrize(
    ("to", "message"), [("2", "is the champion already"), (None, "no champion to roll back")]
)
def test_a_rollback_to_nowhere_is_refused(
    registry: Registry,
    versions: Versions,
    verdict: Verdicts,
    now: datetime,
    to: str | None,
    message: str,
) -> None:
    versions(2)
    if to is not None:
        registry.promote(verdict(to, 0), actor="me", now=now)
    with pytest.raises(PromotionRefused, match=message):
        registry.rollback("digits", to, actor="ann", reason="x", now=now)


def test_a_broken_ledger_is_not_extended(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(2)
    registry.promote(verdict("1", 0), actor="me", now=now)
    with registry._engine.begin() as connection:
        connection.execute(text("DROP TRIGGER ledger_entry_no_update"))
        connection.execute(text("UPDATE ledger_entry SET actor = 'somebody'"))
    with pytest.raises(LedgerBroken, match="epoch 1: its content was changed"):
        registry.promote(verdict("2", 1), actor="me", now=now)
    assert alias(registry) == "1"


def test_a_ledger_cut_short_is_noticed_by_what_mlflow_remembers(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    for epoch, version in enumerate(versions(2)):
        registry.promote(verdict(version, epoch), actor="me", now=now)
    with registry._engine.begin() as connection:
        for table in ("ledger_settlement", "ledger_entry"):
            connection.execute(text(f"DROP TRIGGER {table}_no_delete"))
            connection.execute(text(f"DELETE FROM {table} WHERE epoch = 2"))
    broken = registry.verify("digits")
    assert broken is not None
    assert "MLflow remembers epoch 2" in broken.reason

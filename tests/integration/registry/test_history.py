"""Rows cut off the end of a chain, by hand or by an older backup, are found and stop the gate."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry import (
    GateConfig,
    LedgerBroken,
    PromotionRefused,
    Registry,
    RegistryConfig,
    Verdict,
    connect,
)
from registry.approvals import awaiting
from registry.gate_config import ApprovalConfig
from registry.history import History
from registry.nights.docket import Docket
from registry.nights.docket_store import DOCKET
from registry.watching import watched

Verdicts = Callable[..., Verdict]
Versions = Callable[[int], list[str]]
TABLES = ("docket_entry", "watch_entry", "approval_answer", "ledger_settlement", "ledger_entry")


def judge(registry: Registry, verdict: Verdict, now: datetime) -> None:
    """What a night of the flow leaves behind: its entry in the docket."""
    head = registry.docket(verdict.model)
    assert registry.keep_night(
        Docket(epoch=verdict.epoch),
        verdict,
        challenger=verdict.challenger,
        dataset="d",
        expected=0 if head is None else head.night,
        now=now,
    )


@contextmanager
def tampering(registry: Registry) -> Iterator[Any]:
    with registry._engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"DROP TRIGGER {table}_no_delete"))
        yield connection


def reject_one_of_two(registry: Registry, verdict: Verdicts, now: datetime) -> None:
    """Versions 2 and 3 wait for approval; 2 is rejected."""
    for version in ("2", "3"):
        asked = replace(verdict(version, 1), run_id=f"asks-{version}")
        judge(registry, awaiting(asked, ApprovalConfig(required=True), now), now)
    registry.reject("digits", "2", actor="ann", reason="unfair", now=now)


@pytest.fixture
def nights(registry: Registry, versions: Versions, verdict: Verdicts, now: datetime) -> None:
    """Version 1 is champion; after its promotion two nights held."""
    versions(4)
    proven = replace(verdict("1", 0), budget_left=0.04)
    judge(registry, proven, now)
    registry.promote(proven, actor="flow retrain", now=now)
    for version in ("2", "3"):
        judge(registry, verdict(version, 1, promote=False), now)


@pytest.mark.usefixtures("nights")
def test_a_whole_history_is_whole(registry: Registry) -> None:
    assert registry.verify("digits") is None
    registry.check("digits")
    registry.check("never trained")


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM docket_entry WHERE night > 2", "DELETE FROM docket_entry"],
    ids=["the last night", "every night"],
)
def test_nights_cut_off_are_found_and_nothing_more_is_judged(
    registry: Registry, statement: str
) -> None:
    with tampering(registry) as connection:
        connection.execute(text(statement))
    broken = registry.verify("digits")
    assert broken is not None
    assert "night 3 of the evidence" in broken.reason
    with pytest.raises(LedgerBroken, match="ends too early: MLflow remembers night 3") as refused:
        registry.check("digits")
    assert "ratchet champion digits --adopt" in str(refused.value.hint)


@pytest.mark.usefixtures("nights")
def test_an_older_backup_put_back_is_found(
    registry: Registry, config: RegistryConfig, verdict: Verdicts, now: datetime, tmp_path: Path
) -> None:
    registry.close()
    shutil.copy(tmp_path / "ledger.db", tmp_path / "backup.db")
    judge(registry, verdict("4", 1, promote=False), now)
    assert registry.verify("digits") is None
    registry.close()
    shutil.copy(tmp_path / "backup.db", tmp_path / "ledger.db")
    with connect(config) as restored:
        broken = restored.verify("digits")
    assert broken is not None
    assert "night 4 of the evidence" in broken.reason


@pytest.mark.usefixtures("nights")
def test_what_is_there_goes_on_once_somebody_has_adopted_it(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    with pytest.raises(PromotionRefused, match="nothing to adopt"):
        registry.adopt("digits", actor="ann", reason="why not", now=now)
    with tampering(registry) as connection:
        connection.execute(text("DELETE FROM docket_entry WHERE night > 1"))
    entry = registry.adopt("digits", actor="ann", reason="Monday's backup", now=now)
    assert (entry.epoch, entry.version, entry.reason) == (2, "1", "Monday's backup")
    registry.check("digits")
    assert registry.verify("digits") is None
    judge(registry, verdict("4", 2, promote=False), now)
    assert registry.verify("digits") is None


@pytest.mark.usefixtures("nights")
def test_an_emptied_docket_can_be_adopted_as_well(registry: Registry, now: datetime) -> None:
    with tampering(registry) as connection:
        connection.execute(text("DELETE FROM docket_entry"))
    registry.adopt("digits", actor="ann", reason="lost", now=now)
    registry.check("digits")
    broken = registry.verify("digits")
    assert broken is not None  # The promotion's night is gone for ever, and so it is said.
    assert broken.epoch == 1


def test_without_a_champion_there_is_nothing_to_adopt_and_another_name_helps(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(1)
    judge(registry, verdict("1", 0, promote=False), now)
    with tampering(registry) as connection:
        connection.execute(text("DELETE FROM docket_entry"))
    with pytest.raises(LedgerBroken) as refused:
        registry.check("digits")
    assert "train under another name" in str(refused.value.hint)


@pytest.mark.usefixtures("nights")
def test_a_night_that_a_crash_kept_from_mlflow_is_no_loss(
    registry: Registry, verdict: Verdicts, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(History, "remember", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            judge(registry, verdict("4", 1, promote=False), now)
    assert registry.verify("digits") is None
    judge(registry, replace(verdict("4", 1, promote=False), run_id="next"), now)
    assert registry.verify("digits") is None
    tags = registry.tracking._seam.client.get_registered_model("digits").tags
    assert tags["ratchet.docket"].startswith("5:")


@pytest.mark.usefixtures("nights")
def test_a_tag_that_another_run_overtook_is_no_loss(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    client = registry.tracking._seam.client
    slow = client.get_registered_model("digits").tags["ratchet.docket"]
    judge(registry, verdict("4", 1, promote=False), now)
    client.set_registered_model_tag("digits", "ratchet.docket", slow)
    assert registry.verify("digits") is None


@pytest.mark.usefixtures("nights")
def test_a_promotion_without_its_night_is_found_even_if_mlflow_forgot_it(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    proven = replace(verdict("4", 1), budget_left=0.04)
    judge(registry, proven, now)
    registry.promote(proven, actor="flow retrain", now=now)
    assert registry.verify("digits") is None
    with tampering(registry) as connection:
        connection.execute(text("DELETE FROM docket_entry WHERE night = 4"))
    registry.tracking._seam.client.delete_registered_model_tag("digits", "ratchet.docket")
    broken = registry.verify("digits")
    assert broken is not None
    assert (broken.epoch, "no night with the verdict" in broken.reason) == (2, True)


def test_a_promotion_whose_verdict_is_another_than_the_nights_is_found(
    registry: Registry, versions: Versions, verdict: Verdicts, now: datetime
) -> None:
    versions(1)
    held = replace(verdict("1", 0, promote=False), budget_left=0.04)
    judge(registry, held, now)
    forced = replace(verdict("1", 0), budget_left=0.04)
    registry.promote(forced, actor="flow retrain", now=now)
    broken = registry.verify("digits")
    assert broken is not None
    assert "no night with the verdict that promoted 1" in broken.reason


@pytest.mark.usefixtures("nights")
def test_a_rejection_that_was_cut_off_is_found_and_nothing_is_approved(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    reject_one_of_two(registry, verdict, now)
    assert registry.verify("digits") is None
    with tampering(registry) as connection:
        connection.execute(text("DELETE FROM approval_answer"))
    broken = registry.verify("digits")
    assert broken is not None
    assert "answer 1 to a request for approval" in broken.reason
    with pytest.raises(LedgerBroken):
        registry.approve("digits", "2", actor="bob", reason="fine", now=now)


@pytest.mark.usefixtures("nights")
def test_a_watched_night_that_was_cut_off_is_found(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    registry.promote(verdict("4", 1), actor="flow retrain", now=now)
    subject, gate = registry.watches.subject("digits"), GateConfig()
    assert subject is not None
    watch = registry.watches.before_night(subject, datetime(2026, 1, 1, tzinfo=UTC), gate, now)
    watch = replace(watch, bets=replace(watch.bets, nights=1))
    found = watched(watch, "no row is new", gate)[1]
    assert registry.watches.keep(watch, found, run_id="r", dataset="d", now=now)
    assert registry.verify("digits") is None
    with tampering(registry) as connection:
        connection.execute(text("DELETE FROM watch_entry"))
    broken = registry.verify("digits")
    assert broken is not None
    assert "night 1 of the watch over the champion of epoch 2" in broken.reason


@pytest.mark.usefixtures("nights")
def test_a_loss_stays_found_whatever_is_written_after_it(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    reject_one_of_two(registry, verdict, now)
    with tampering(registry) as connection:
        connection.execute(text("DELETE FROM approval_answer"))
    registry.reject("digits", "3", actor="bob", reason="unfair", now=now)
    assert registry.verify("digits") is not None
    with pytest.raises(LedgerBroken):
        registry.approve("digits", "2", actor="bob", reason="fine", now=now)


@pytest.mark.usefixtures("nights")
def test_an_entry_that_was_cut_off_stops_promotions_and_no_rollback_hides_it(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    registry.promote(replace(verdict("2", 1), run_id="two"), actor="flow retrain", now=now)
    registry.rollback("digits", actor="ann", reason="bad", now=now)
    with tampering(registry) as connection:
        for table in ("ledger_settlement", "ledger_entry"):
            connection.execute(text(f"DELETE FROM {table} WHERE epoch > 1"))
    with pytest.raises(LedgerBroken, match="epoch 3"):
        registry.promote(replace(verdict("4", 1), run_id="four"), actor="flow retrain", now=now)
    registry.rollback("digits", "3", actor="bob", reason="worse", now=now, force=True)
    broken = registry.verify("digits")
    assert broken is not None
    assert "epoch 3" in broken.reason
    registry.adopt("digits", actor="ann", reason="Monday's backup", now=now)
    assert registry.verify("digits") is None


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("tag", ["ratchet.ledger", "ratchet.watch"])
@pytest.mark.parametrize("written", ["hello", "3", ":", "x:y"])
def test_a_tag_that_somebody_has_written_over_is_found(
    registry: Registry, tag: str, written: str
) -> None:
    registry.tracking._seam.client.set_registered_model_tag("digits", tag, written)
    broken = registry.verify("digits")
    assert broken is not None
    assert broken.reason == f"MLflow's tag {tag} cannot be read"


@pytest.mark.usefixtures("nights")
def test_an_emptied_ledger_can_be_adopted_while_a_champion_is_live(
    registry: Registry, now: datetime
) -> None:
    with tampering(registry) as connection:
        for table in ("ledger_settlement", "ledger_entry"):
            connection.execute(text(f"DELETE FROM {table}"))
    with pytest.raises(LedgerBroken) as refused:
        registry.check("digits")
    assert "ratchet champion digits --adopt" in str(refused.value.hint)
    registry.adopt("digits", actor="ann", reason="lost", now=now)
    registry.check("digits")


@pytest.mark.usefixtures("nights")
def test_many_who_remember_a_new_chain_at_once_break_nothing(
    registry: Registry, config: RegistryConfig, now: datetime
) -> None:
    client = registry.tracking._seam.client
    client.delete_registered_model_tag("digits", "ratchet.docket")
    start = threading.Barrier(6)

    def remembered() -> None:
        with connect(config) as mine:
            mine.champion("digits")
            start.wait()
            mine._history.remember("digits", DOCKET)

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(remembered) for _ in range(6)]:
            done.result()
    assert client.get_registered_model("digits").tags["ratchet.docket"].startswith("3:")


@pytest.mark.usefixtures("nights")
def test_a_ledger_that_lags_behind_is_not_restored_over_a_newer_champion(
    registry: Registry, verdict: Verdicts, now: datetime
) -> None:
    registry.promote(verdict("2", 1), actor="flow retrain", now=now)
    with tampering(registry) as connection:
        for table in ("ledger_settlement", "ledger_entry"):
            connection.execute(text(f"DELETE FROM {table} WHERE epoch > 1"))
    assert registry.champion("digits").outsider == "2"
    with pytest.raises(LedgerBroken, match="ends too early: MLflow remembers epoch 2"):
        registry.restore("digits", actor="ann", reason="undo", now=now)
    assert registry.champion("digits").outsider == "2"

"""A night of a watch is kept once, follows the night before, and shows when it was altered."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from registry.database import open_database
from registry.gate_config import GateConfig, WatchConfig
from registry.ledger import Action, Change, Ledger
from registry.nights.docket import Docket
from registry.nights.docket_store import DocketStore, NightTaken
from registry.watch import Subject, Watch, Watched
from registry.watch_store import WatchStore
from registry.watches import Watches
from registry.watching import opened, watched

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
GATE = GateConfig()
SUBJECT = Subject(model="digits", epoch=2, version="2", previous="1")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.dispose()


def after(nights: int, subject: Subject = SUBJECT) -> tuple[Watch, Watched]:
    watch = opened(subject, Docket(), NOW, GATE, NOW)
    watch = replace(watch, bets=replace(watch.bets, nights=nights))
    return watch, replace(watched(watch, "größer", GATE)[1], fresh=100)


def keep(store: WatchStore, run: str, night: int, subject: Subject = SUBJECT) -> None:
    store.append(*after(night, subject), run_id=run, dataset="d", now=NOW)


def test_nights_come_back_as_they_were_kept(engine: Engine) -> None:
    store = WatchStore(engine)
    assert store.head("digits") is None
    keep(store, "a", 1)
    keep(store, "b", 2)
    keep(store, "c", 1, replace(SUBJECT, epoch=4))
    head = store.head("digits", 2)
    assert head is not None
    assert (head.night, head.run_id, head.at) == (2, "b", NOW)
    assert (head.watch, head.watched) == after(2)
    newest, made = store.head("digits"), store.of_run("digits", "a")
    assert newest is not None
    assert made is not None
    assert (newest.epoch, newest.night, made.night) == (4, 1, 1)
    assert store.of_run("digits", "x") is None
    assert store.verify("digits") is None


def test_a_run_that_followed_an_older_night_or_was_there_already_looks_again(
    engine: Engine,
) -> None:
    store = WatchStore(engine)
    keep(store, "a", 1)
    for run, night in (("b", 1), ("b", 3), ("a", 2)):
        with pytest.raises(NightTaken):
            keep(store, run, night)
    keep(store, "b", 1, replace(SUBJECT, epoch=4))
    with pytest.raises(NightTaken):  # the champion has changed meanwhile
        keep(store, "c", 2)


def test_of_many_runs_at_once_one_keeps_the_night(engine: Engine) -> None:
    kept: list[str] = []
    watches = Watches(Ledger(engine), DocketStore(engine), WatchStore(engine), kept=print)

    def race(number: int) -> None:
        run = f"run-{number}"
        if watches.keep(*after(1), run_id=run, dataset="d", now=NOW):
            kept.append(run)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 1


@pytest.mark.parametrize(
    "statement", ["UPDATE watch_entry SET night = 3", "DELETE FROM watch_entry"]
)
def test_no_statement_changes_or_removes_a_night(engine: Engine, statement: str) -> None:
    keep(WatchStore(engine), "a", 1)
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    ("tampering", "reason"),
    [
        ("UPDATE watch_entry SET watched = replace(watched, 'größer', 'größter') WHERE night = 1",
         "the content of night 1 was changed"),
        ("UPDATE watch_entry SET watch = replace(watch, '2026', '2027') WHERE epoch = 4",
         "the content of night 1 was changed"),
        ("DELETE FROM watch_entry WHERE epoch = 2 AND night = 1", "night 1 is missing"),
        ("DELETE FROM watch_entry WHERE epoch = 2", "does not follow"),
        ("UPDATE watch_entry SET prev_hash = upper(hash) WHERE night = 2", "does not follow"),
    ],
)  # fmt: skip
def test_one_altered_byte_is_found(engine: Engine, tampering: str, reason: str) -> None:
    store = WatchStore(engine)
    keep(store, "a", 1)
    keep(store, "b", 2)
    keep(store, "c", 1, replace(SUBJECT, epoch=4))
    with engine.begin() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER watch_entry_no_{verb}"))
        connection.execute(text(tampering))
    broken = store.verify("digits")
    assert broken is not None
    assert reason in broken.reason
    assert "in the watch" in broken.reason


def changed(ledger: Ledger, epoch: int, action: Action, version: str, before: str | None) -> None:
    change = Change(
        model="digits", version=version, previous_version=before, action=action, verdict=None,
        run_id=f"r{epoch}", actor="t", reason="r", at=NOW,
    )  # fmt: skip
    ledger.append(change, epoch)


def test_a_first_model_a_rollback_and_an_adoption_are_not_watched(engine: Engine) -> None:
    ledger = Ledger(engine)
    watches = Watches(ledger, DocketStore(engine), WatchStore(engine), kept=print)
    assert not watches.watching("digits", GATE).due
    for epoch, (action, version, before, due) in enumerate(
        [
            (Action.PROMOTE, "1", None, False),
            (Action.PROMOTE, "2", "1", True),
            (Action.ROLLBACK, "1", "2", False),
            (Action.ADOPT, "9", "1", False),
            (Action.PROMOTE, "3", "9", True),
            (Action.RESTORE, "3", "8", False),
        ]
    ):
        changed(ledger, epoch, action, version, before)
        ledger.settle(ledger.entries("digits")[-1], NOW)
        assert watches.watching("digits", GATE).due is due


def test_a_watch_goes_on_where_the_last_night_left_it(engine: Engine) -> None:
    ledger = Ledger(engine)
    watches = Watches(ledger, DocketStore(engine), WatchStore(engine), kept=print)
    for epoch, before in enumerate((None, "1")):
        changed(ledger, epoch, Action.PROMOTE, str(epoch + 1), before)
        ledger.settle(ledger.entries("digits")[-1], NOW)
    assert watches.subject("digits") == SUBJECT
    assert watches.latest("digits") is None
    assert watches.before_night(SUBJECT, NOW, GATE, NOW).bets.nights == 0
    watch, found = after(1)
    assert watches.keep(watch, found, run_id="a", dataset="d", now=NOW)
    assert watches.before_night(SUBJECT, NOW, GATE, NOW) == watch
    harsher = replace(GATE, watch=WatchConfig(harm=0.02))
    assert watches.before_night(SUBJECT, NOW, harsher, NOW).terms != watch.terms
    assert watches.of_run("digits", "a") == watches.latest("digits") == found

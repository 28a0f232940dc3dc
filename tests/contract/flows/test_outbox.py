"""The outbox: an alert is posted once, taken by one courier at a time, and never lost."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.alert import (
    Alert,
    AlertKind,
    Delivery,
    DeliveryState,
    Letter,
    LetterStatus,
    Severity,
)
from flows.core.flow import flow, task
from flows.core.records import ErrorInfo, Notice, Outcome, OutcomeKind
from flows.core.store import NewRun, Store, outbox

NOW = datetime(2026, 7, 4, 3, tzinfo=UTC)
LEASE = timedelta(minutes=3)


def alert(number: int = 1, *, subject: str = "run-1", at: datetime = NOW) -> Alert:
    return Alert(
        key=f"failed:{subject}:{number}",
        kind=AlertKind.FAILED,
        severity=Severity.CRITICAL,
        flow="retrain",
        subject=subject,
        title="retrain failed",
        reason="train: ValueError: no luck",
        since=at - timedelta(minutes=2),
        at=at,
        next="ratchet retry run-1",
    )


def taken_by(store: Store, now: datetime = NOW, **more: str) -> list[Letter]:
    return store.outbox.take(now, limit=100, lease=LEASE, **more)


def told(letter: Letter, at: datetime, channel: str = "hook") -> Letter:
    delivery = Delivery(channel=channel, state=DeliveryState.DELIVERED, at=at)
    return replace(letter, status=LetterStatus.DELIVERED, delivered_at=at, deliveries=(delivery,))


def failed(letter: Letter, next_at: datetime, problem: str = "404") -> Letter:
    delivery = Delivery(channel="hook", state=DeliveryState.FAILED, at=NOW, problem=problem)
    return replace(letter, tries=letter.tries + 1, next_at=next_at, deliveries=(delivery,))


def kinds(store: Store) -> list[str]:
    return [event.kind for event in store.reads.events()]


def test_an_alert_is_posted_once_for_each_key(store: Store) -> None:
    assert store.outbox.post([alert(1), alert(1), alert(2)], NOW) == [alert(1), alert(2)]
    assert store.outbox.post([alert(2)], NOW) == []
    assert [letter.alert for letter in store.outbox.list()] == [alert(1), alert(2)]
    assert kinds(store) == ["alert.raised", "alert.raised"]


def test_an_alert_goes_with_the_transaction_that_it_was_written_in(store: Store) -> None:
    def write_and_fail() -> None:
        with store.database.write() as connection:
            outbox.insert(connection, [alert()])
            raise RuntimeError("the event's transaction is rolled back")

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert store.outbox.list() == ()


def test_a_letter_is_taken_by_one_courier_at_a_time(store: Store) -> None:
    store.outbox.post([alert(1)], NOW)
    assert [letter.alert for letter in taken_by(store)] == [alert(1)]
    assert taken_by(store) == []
    assert taken_by(store, NOW + LEASE - timedelta(seconds=1)) == []


def test_couriers_at_the_same_moment_take_different_letters(store_url: str) -> None:
    stores = [Store.open(store_url) for _ in range(4)]
    stores[0].outbox.post([alert(n) for n in range(40)], NOW)
    found: list[Letter] = []

    def take(store: Store) -> None:
        while letters := store.outbox.take(NOW, limit=3, lease=LEASE):
            found.extend(letters)

    threads = [threading.Thread(target=take, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert sorted(letter.alert.key for letter in found) == sorted(alert(n).key for n in range(40))


def test_a_letter_of_a_courier_that_died_is_due_again(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    taken_by(store)
    (again,) = taken_by(store, NOW + LEASE)
    assert again.alert == alert()
    assert again.tries == 0


def test_a_courier_that_lost_its_letter_records_nothing(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    (slow,) = taken_by(store)
    later = NOW + LEASE
    (fast,) = taken_by(store, later)
    assert store.outbox.settle([(slow, failed(slow, NOW))], later) == []
    assert store.outbox.settle([(fast, told(fast, later))], later) == [told(fast, later)]
    assert kinds(store) == ["alert.raised", "alert.delivered"]


def test_only_what_is_about_the_subject_is_taken(store: Store) -> None:
    store.outbox.post([alert(1, subject="a"), alert(1, subject="b")], NOW)
    assert [letter.alert.subject for letter in taken_by(store, subject="b")] == ["b"]
    assert [letter.alert.subject for letter in store.outbox.list(subject="a")] == ["a"]


def test_a_delivery_is_an_event_that_says_since_when_and_who_was_told(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    (letter,) = taken_by(store)
    at = NOW + timedelta(seconds=5)
    store.outbox.settle([(letter, told(letter, at))], at)
    event = store.reads.events()[-1]
    assert (event.kind, event.at, event.run_id) == ("alert.delivered", at, None)
    assert event.data == {
        "key": "failed:run-1:1",
        "kind": "failed",
        "flow": "retrain",
        "subject": "run-1",
        "since": (NOW - timedelta(minutes=2)).isoformat(),
        "at": NOW.isoformat(),
        "channels": ["hook"],
    }
    assert taken_by(store, NOW + timedelta(days=30)) == []


def test_the_first_who_was_told_makes_the_event_and_the_last_another(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    (letter,) = taken_by(store)
    half = replace(
        failed(letter, NOW + timedelta(seconds=10)), delivered_at=NOW + timedelta(seconds=1)
    )
    store.outbox.settle([(letter, half)], NOW)
    (again,) = taken_by(store, NOW + timedelta(seconds=10))
    done = replace(told(again, NOW), delivered_at=half.delivered_at)
    store.outbox.settle([(again, done)], NOW + timedelta(seconds=10))
    assert kinds(store) == ["alert.raised", "alert.delivered", "alert.retry", "alert.completed"]


def test_what_is_tried_again_waits_for_its_time(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    (letter,) = taken_by(store)
    later = NOW + timedelta(seconds=10)
    store.outbox.settle([(letter, failed(letter, later))], NOW)
    assert store.outbox.due() == later
    assert taken_by(store, later - timedelta(seconds=1)) == []
    (again,) = taken_by(store, later)
    assert (again.tries, again.deliveries[0].problem) == (1, "404")
    assert store.reads.events()[-1].data["problems"] == {"hook": "404"}


def test_what_was_given_up_is_an_event_and_can_be_revived(store: Store) -> None:
    store.outbox.post([alert(1), alert(2)], NOW)
    dead, fine = taken_by(store)
    lost = replace(failed(dead, NOW), status=LetterStatus.DEAD, tries=32)
    store.outbox.settle([(dead, lost), (fine, told(fine, NOW))], NOW)
    assert kinds(store)[2:] == ["alert.dead", "alert.delivered"]
    assert store.outbox.due() is None
    assert [x.alert for x in store.outbox.list(status=LetterStatus.DEAD)] == [dead.alert]
    later = NOW + timedelta(days=2)
    (revived,) = store.outbox.revive(later)
    assert (revived.alert, revived.tries, revived.next_at) == (dead.alert, 0, later)
    assert kinds(store)[-1] == "alert.revived"
    assert [letter.alert for letter in taken_by(store, later)] == [dead.alert]


def test_what_a_throttle_holds_is_an_event_once(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    end = NOW + timedelta(hours=1)
    (letter,) = taken_by(store)
    held = Delivery(channel="hook", state=DeliveryState.HELD, at=NOW, problem="too many")
    store.outbox.settle([(letter, replace(letter, next_at=end, deliveries=(held,)))], NOW)
    assert store.reads.events()[-1].kind == "alert.held"
    assert store.reads.events()[-1].data["held"] == ["hook"]
    (again,) = taken_by(store, end)
    store.outbox.settle([(again, replace(again, next_at=end))], end)
    assert kinds(store).count("alert.held") == 1


def test_what_each_channel_took_is_counted_from_a_time_on(store: Store) -> None:
    store.outbox.post([alert(n) for n in range(3)], NOW)
    first, second, third = taken_by(store)
    digest = Delivery(channel="hook", state=DeliveryState.DIGESTED, at=NOW)
    store.outbox.settle(
        [
            (first, told(first, NOW)),
            (second, told(second, NOW - timedelta(hours=2))),
            (third, replace(told(third, NOW), deliveries=(digest,))),
        ],
        NOW,
    )
    assert store.outbox.told_since(NOW - timedelta(hours=1)) == {"hook": 1}
    assert store.outbox.told_since(NOW - timedelta(hours=3)) == {"hook": 2}


@task(timeout=5)
def one() -> int:
    return 1


@flow
def lonely() -> None:
    one()


def ended(store: Store, outcome: OutcomeKind, **how: object) -> str:
    new = NewRun(
        id="260704-030000-aaaaaa", flow="lonely", key="night", source="tests:lonely",
        graph=lonely.graph, config={}, config_yaml="", config_digest="", trigger={},
    )  # fmt: skip
    run = store.runs.create(new, NOW)
    step = store.runs.step(
        [], worker="w", slots={"processes": 1}, default_executor="processes", runs=[run.id], now=NOW
    )
    (claim,) = step.claims
    if outcome is OutcomeKind.STOPPED:
        store.runs.note_stopping(claim.attempt.id, "timeout")
    store.runs.step(
        [Outcome(attempt_id=claim.attempt.id, kind=outcome, **how)],  # type: ignore[arg-type]
        worker="w", slots={"processes": 1}, default_executor="processes", runs=[run.id], now=NOW,
    )  # fmt: skip
    return run.id


def test_a_run_that_fails_has_its_alert_in_the_same_commit(store: Store) -> None:
    error = ErrorInfo(type="ValueError", message="no luck", kinds=("builtins.ValueError",))
    run_id = ended(store, OutcomeKind.FAILED, error=error)
    run = store.reads.find(run_id)
    (letter,) = store.outbox.list()
    assert letter.alert.key == f"failed:{run_id}:{run.seq}"
    assert letter.alert.reason == "one: ValueError: no luck"
    assert letter.alert.next == f"ratchet retry {run_id}"
    assert letter.alert.at == run.ended_at


def test_a_run_that_halts_has_its_alert_and_one_that_succeeds_has_none(store: Store) -> None:
    run_id = ended(store, OutcomeKind.HALTED, reason="the data is bad")
    (letter,) = store.outbox.list()
    assert (letter.alert.kind, letter.alert.reason) == (AlertKind.HALTED, "the data is bad")
    assert letter.alert.next == f"ratchet show {run_id}"


def test_a_run_whose_task_was_ended_at_its_timeout_timed_out(store: Store) -> None:
    ended(store, OutcomeKind.STOPPED)
    (letter,) = store.outbox.list()
    assert letter.alert.kind is AlertKind.TIMED_OUT
    assert letter.alert.reason == "one: TimedOut: one was ended after its timeout of 5 s"


def test_a_run_that_succeeds_alerts_nobody(store: Store) -> None:
    ended(store, OutcomeKind.SUCCEEDED, value="1")
    assert store.outbox.list() == ()


def test_what_a_task_noticed_is_told_in_the_same_commit_and_once_for_its_key(store: Store) -> None:
    said = Notice(
        key="champion_harmful:digits:3",
        kind="champion_harmful",
        title="worse",
        reason="r",
        next="n",
    )
    again = replace(said, title="worse, said again")
    run_id = ended(store, OutcomeKind.SUCCEEDED, value="1", notices=(said, again))
    (letter,) = store.outbox.list()
    assert (letter.alert.kind, letter.alert.title) == (AlertKind.CHAMPION_HARMFUL, "worse")
    assert letter.alert.subject == run_id

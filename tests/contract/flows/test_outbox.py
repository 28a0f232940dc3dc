"""The outbox: an alert is posted once, each delivery is one courier's at a time, none is lost."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from flows.core.alert import (
    Alert,
    AlertKind,
    AlertRecord,
    AlertStatus,
    Delivery,
    DeliveryState,
    Severity,
)
from flows.core.claiming import Capabilities
from flows.core.flow import flow, task
from flows.core.records import ErrorInfo, Notice, Outcome, OutcomeKind
from flows.core.store import NewRun, Store, outbox, schema
from flows.core.store.database import Database
from flows.core.values import storable
from tests.contract.flows.plans import analyze, insert, plan, reads_all_of

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


def post(store: Store, *numbers: int, at: datetime = NOW) -> None:
    """Alerts with their deliveries, to one channel each."""
    store.outbox.post([alert(number) for number in numbers], at)
    address(store, at)


def address(store: Store, now: datetime = NOW, channels: tuple[str, ...] = ("hook",)) -> list[str]:
    return store.outbox.address(lambda _: channels, now, limit=100)


def take(store: Store, now: datetime = NOW, channel: str = "hook", **more: Any) -> list[Delivery]:
    taken = store.outbox.take(channel, now, **{"limit": 100, "lease": LEASE, **more})
    return [delivery for _, delivery in taken]


def told(delivery: Delivery, at: datetime = NOW) -> Delivery:
    return replace(delivery, state=DeliveryState.DELIVERED, next_at=None, at=at)


def failed(delivery: Delivery, next_at: datetime | None, problem: str = "404") -> Delivery:
    return replace(
        delivery,
        state=DeliveryState.FAILED,
        tries=delivery.tries + 1,
        next_at=next_at,
        at=NOW,
        problem=problem,
    )


def stands(store: Store) -> AlertRecord:
    (record,) = store.outbox.list()
    return record


def kinds(store: Store) -> list[str]:
    return [event.kind for event in store.reads.events()]


def test_an_alert_is_posted_once_for_each_key(store: Store) -> None:
    assert store.outbox.post([alert(1), alert(1), alert(2)], NOW) == [alert(1), alert(2)]
    assert store.outbox.post([alert(2)], NOW) == []
    assert [record.alert for record in store.outbox.list()] == [alert(1), alert(2)]
    assert kinds(store) == ["alert.raised", "alert.raised"]


def test_those_who_post_the_same_alerts_in_another_order_do_not_wait_for_each_other(
    store_url: str,
) -> None:
    stores, rounds = [Store.open(store_url), Store.open(store_url)], range(10)
    together = threading.Barrier(len(stores), timeout=60)

    def post_all(store: Store, step: int) -> int:
        together.wait()
        new = 0
        for each in rounds:
            alerts = [alert(number, subject=f"run-{each}") for number in range(50)]
            new += len(store.outbox.post(alerts[::step], NOW))
            together.wait()
        return new

    with ThreadPoolExecutor(len(stores)) as threads:
        assert sum(threads.map(post_all, stores, (1, -1))) == 50 * len(rounds)
    for opened in stores:
        opened.close()


def test_an_alert_goes_with_the_transaction_that_it_was_written_in(store: Store) -> None:
    def write_and_fail() -> None:
        with store.database.write() as connection:
            outbox.insert(connection, [alert()])
            raise RuntimeError("the event's transaction is rolled back")

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert store.outbox.list() == ()


def test_an_alert_has_a_delivery_for_each_channel_once(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    assert stands(store).deliveries == ()
    assert store.outbox.due() == NOW
    assert address(store, channels=("hook", "mail")) == [alert().key]
    assert address(store, channels=("hook", "mail")) == []
    assert store.outbox.due_channels(NOW) == ["hook", "mail"]
    deliveries = stands(store).deliveries
    assert [(d.channel, d.state, d.next_at) for d in deliveries] == [
        ("hook", DeliveryState.PENDING, NOW),
        ("mail", DeliveryState.PENDING, NOW),
    ]


def test_an_alert_for_no_channel_is_done(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    address(store, channels=())
    assert stands(store).status is AlertStatus.DELIVERED
    assert store.outbox.due() is None


def test_a_delivery_is_taken_by_one_courier_at_a_time(store: Store) -> None:
    post(store, 1)
    assert [delivery.alert for delivery in take(store)] == [alert(1).key]
    assert take(store) == []
    assert take(store, NOW + LEASE - timedelta(seconds=1)) == []


def test_couriers_at_the_same_moment_take_different_deliveries(store_url: str) -> None:
    stores = [Store.open(store_url) for _ in range(4)]
    stores[0].outbox.post([alert(n) for n in range(40)], NOW)
    keys: list[str] = []

    def work(store: Store) -> None:
        while store.outbox.address(lambda _: ("hook",), NOW, limit=3):
            pass
        while taken := take(store, limit=3):
            keys.extend(delivery.alert for delivery in taken)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work(stores[0])  # what all others were at when it looked
    for store in stores:
        store.close()
    assert sorted(keys) == sorted(alert(n).key for n in range(40))


def test_a_delivery_of_a_courier_that_died_is_due_again(store: Store) -> None:
    post(store, 1)
    take(store)
    (again,) = take(store, NOW + LEASE)
    assert (again.alert, again.tries) == (alert().key, 0)


def test_a_courier_that_lost_its_delivery_records_nothing(store: Store) -> None:
    post(store, 1)
    (slow,) = take(store)
    later = NOW + LEASE
    (fast,) = take(store, later)
    store.outbox.settle([(slow, failed(slow, NOW))], later)
    assert stands(store).deliveries == (fast,)
    store.outbox.settle([(fast, told(fast, later))], later)
    assert stands(store).deliveries == (told(fast, later),)
    assert kinds(store) == ["alert.raised", "alert.delivered"]


def test_only_what_is_about_the_subject_is_taken(store: Store) -> None:
    store.outbox.post([alert(1, subject="a"), alert(1, subject="b"), alert(1, subject="c")], NOW)
    for subject in ("a", "b"):
        store.outbox.address(lambda _: ("hook",), NOW, limit=9, subject=subject)
    assert store.outbox.due_channels(NOW, subject="c") == []
    assert store.outbox.due_channels(NOW, subject="b") == ["hook"]
    assert [delivery.alert for delivery in take(store, subject="b")] == ["failed:b:1"]
    assert [r.alert.subject for r in store.outbox.list(keys=["failed:a:1"])] == ["a"]


def test_a_delivery_is_an_event_that_says_since_when_and_who_was_told(store: Store) -> None:
    post(store, 1)
    (delivery,) = take(store)
    at = NOW + timedelta(seconds=5)
    store.outbox.settle([(delivery, told(delivery, at))], at)
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
    assert take(store, NOW + timedelta(days=30)) == []


def test_the_first_who_was_told_makes_the_event_and_the_last_another(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    address(store, channels=("hook", "mail"))
    (hook,), (mail,) = take(store), take(store, channel="mail")
    later = NOW + timedelta(seconds=10)
    store.outbox.settle([(hook, told(hook))], NOW)
    store.outbox.settle([(mail, failed(mail, later))], NOW)
    assert stands(store).status is AlertStatus.PENDING
    (again,) = take(store, later, channel="mail")
    store.outbox.settle([(again, told(again, later))], later)
    assert kinds(store) == ["alert.raised", "alert.delivered", "alert.retry", "alert.completed"]
    record = stands(store)
    assert (record.status, record.delivered_at) == (AlertStatus.DELIVERED, NOW)


def test_two_channels_settled_at_the_same_moment_end_the_alert(store_url: str) -> None:
    stores = [Store.open(store_url) for _ in range(2)]
    stores[0].outbox.post([alert(n) for n in range(20)], NOW)
    address(stores[0], channels=("hook", "mail"))

    def work(store: Store, channel: str) -> None:
        for delivery in take(store, channel=channel):
            store.outbox.settle([(delivery, told(delivery))], NOW)

    channels = zip(stores, ("hook", "mail"), strict=True)
    threads = [threading.Thread(target=work, args=one) for one in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {record.status for record in stores[0].outbox.list()} == {AlertStatus.DELIVERED}
    for store in stores:
        store.close()


def test_what_is_tried_again_waits_for_its_time(store: Store) -> None:
    post(store, 1)
    (delivery,) = take(store)
    later = NOW + timedelta(seconds=10)
    store.outbox.settle([(delivery, failed(delivery, later))], NOW)
    assert store.outbox.due() == later
    assert take(store, later - timedelta(seconds=1)) == []
    (again,) = take(store, later)
    assert (again.tries, again.problem) == (1, "404")
    assert store.reads.events()[-1].data["problems"] == {"hook": "404"}


def test_what_was_given_up_is_an_event_and_can_be_revived(store: Store) -> None:
    post(store, 1, 2)
    dead, fine = take(store)
    store.outbox.settle([(dead, failed(dead, None)), (fine, told(fine))], NOW)
    assert sorted(kinds(store)[2:]) == ["alert.dead", "alert.delivered"]
    assert store.outbox.due() is None
    assert [r.alert.key for r in store.outbox.list(status=AlertStatus.DEAD)] == [dead.alert]
    later = NOW + timedelta(days=2)
    assert store.outbox.revive(later) == [dead.alert]
    assert kinds(store)[-1] == "alert.revived"
    address(store, later)
    (again,) = take(store, later)
    assert (again.alert, again.tries) == (dead.alert, 0)


def test_what_is_revived_goes_where_alerts_go_by_now(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    address(store, channels=("mail", "gone"))
    (mail,), (gone,) = take(store, channel="mail"), take(store, channel="gone")
    store.outbox.settle([(mail, told(mail)), (gone, failed(gone, NOW + LEASE))], NOW)
    store.outbox.revive(NOW)
    address(store, channels=("mail", "new"))
    assert [(d.channel, d.state) for d in stands(store).deliveries] == [
        ("mail", DeliveryState.DELIVERED),
        ("new", DeliveryState.PENDING),
    ]


def test_what_a_throttle_holds_is_an_event_and_waits_for_the_digest(store: Store) -> None:
    post(store, 1, 2)
    (first,) = take(store, limit=1)
    end = NOW + timedelta(hours=1)
    store.outbox.hold("hook", NOW, until=end, limit=100)
    assert store.reads.events()[-1].kind == "alert.held"
    assert store.reads.events()[-1].data["held"] == ["hook"]
    assert kinds(store).count("alert.held") == 1
    assert take(store, end - timedelta(seconds=1), held=True) == []
    assert [delivery.alert for delivery in take(store, end)] == [first.alert]
    assert [delivery.alert for delivery in take(store, end, held=True)] == [alert(2).key]


def test_what_each_channel_took_is_counted_from_a_time_on(store: Store) -> None:
    post(store, 0, 1, 2)
    first, second, third = take(store)
    digest = replace(told(third), state=DeliveryState.DIGESTED)
    before = NOW - timedelta(hours=2)
    moves = [(first, told(first)), (second, told(second, before)), (third, digest)]
    store.outbox.settle(moves, NOW)
    assert store.outbox.delivered_since("hook", NOW - timedelta(hours=1)) == 1
    assert store.outbox.delivered_since("hook", NOW - timedelta(hours=3)) == 2
    assert store.outbox.delivered_since("mail", NOW - timedelta(hours=3)) == 0


def test_an_alert_that_this_version_cannot_read_is_told_of_as_it_stands(store: Store) -> None:
    post(store, 1, 2)
    newer = '{"kind": "a kind of tomorrow"}'
    with store.database.write() as connection:
        where = text("UPDATE outbox SET kind = 'quota', alert = :alert WHERE key = :key")
        connection.execute(where, {"alert": newer, "key": alert(1).key})
    taken = store.outbox.take("hook", NOW, limit=9, lease=LEASE)
    strange, fine = (told_of for told_of, _ in taken)
    assert (strange.kind, strange.reason) == (AlertKind.NOTICED, newer)
    assert fine == alert(2)


@pytest.mark.parametrize(
    "newer",
    [
        "UPDATE delivery SET state = 'snoozed' WHERE alert = :key",
        "UPDATE outbox SET status = 'muted' WHERE key = :key",
        """UPDATE outbox SET deliveries = '[{"to": "hook"}]' WHERE key = :key""",
        """UPDATE outbox SET deliveries = '[{"channel": "hook", "state": "snoozed"}]'
        WHERE key = :key""",
    ],
    ids=["state", "status", "deliveries", "their states"],
)
def test_how_a_newer_version_has_delivered_an_alert_holds_up_no_other(
    store: Store, newer: str
) -> None:
    post(store, *([1] if "UPDATE delivery" in newer else ()))
    store.outbox.post([alert(1), alert(2)], NOW)
    with store.database.write() as connection:
        connection.execute(text(newer), {"key": alert(1).key})
    address(store)
    assert [delivery.alert for delivery in take(store)] == [alert(2).key]
    assert alert(2).key in {record.alert.key for record in store.outbox.list()}
    assert store.outbox.address(lambda _: ("hook",), NOW, limit=9) == []


def test_an_alert_whose_channels_cannot_be_told_holds_up_no_other(store: Store) -> None:
    def channels(of: Alert) -> tuple[str, ...]:
        if of == alert(1):
            raise AttributeError("a route")
        return ("hook",)

    store.outbox.post([alert(1), alert(2)], NOW)
    assert store.outbox.address(channels, NOW, limit=9) == [alert(2).key]
    assert [delivery.alert for delivery in take(store)] == [alert(2).key]
    later = NOW + outbox.LEFT_ALONE
    assert store.outbox.due() == later
    assert address(store, later) == [alert(1).key]


def test_whatever_an_alert_says_is_stored_and_taken(store: Store) -> None:
    odd = replace(
        alert(1), key="k" * 400, flow="f" * 300, subject="\x00\udce9", title="\x00", reason="\ud800"
    )
    store.outbox.post([odd, alert(2)], NOW)
    address(store)
    taken = store.outbox.take("hook", NOW, limit=9, lease=LEASE)
    assert {told_of.key for told_of, _ in taken} == {odd.key, alert(2).key}
    for _, delivery in taken:
        moved = replace(failed(delivery, None), problem=storable("it says \x00 \udce9"))
        store.outbox.settle([(delivery, moved)], NOW)
    assert {record.status for record in store.outbox.list()} == {AlertStatus.DEAD}


def test_a_look_costs_by_what_is_due_and_not_by_what_was_ever_told(store: Store) -> None:
    columns = "key, kind, severity, flow, subject, at, alert, status, tries, next_at, deliveries"
    row = "'old' || i, 'failed', 'critical', 'f', 'r' || i, AT, '{}', 'delivered', 0, AT, '[]'"
    insert(store, 20_000, f"outbox ({columns}) SELECT {row}")
    row = "'old' || i, 'hook', 'delivered', 0, AT"
    insert(store, 20_000, f"delivery (alert, channel, state, tries, at) SELECT {row}")
    analyze(store)
    post(store, 1)
    looks = (
        store.outbox.due,
        lambda: store.outbox.due_channels(NOW),
        lambda: store.outbox.due_channels(NOW, subject="run-1"),
        lambda: address(store),
        lambda: store.outbox.delivered_since("hook", NOW - timedelta(hours=1)),
        lambda: take(store),
        lambda: take(store, subject="run-1"),
        lambda: store.outbox.list(keys=[alert(1).key], limit=1),
    )
    for look in looks:
        described = plan(store, look)
        assert not reads_all_of("delivery", described), described
        assert not reads_all_of("outbox", described), described


# ---------------------------------------------------------------- beside the release before


def as_released(store: Store, *, status: str, next_at: datetime, tries: int, **on: str) -> None:
    """What the release before records of an alert: its deliveries stand in its own row."""
    deliveries = [
        {"channel": channel, "state": state, "at": NOW.isoformat(), "problem": None}
        for channel, state in on.items()
    ]
    with store.database.write() as connection:
        connection.execute(
            schema.outbox.update().values(
                status=status, next_at=next_at, tries=tries, deliveries=json.dumps(deliveries)
            )
        )


def test_what_has_its_deliveries_is_left_alone_by_the_release_before(store: Store) -> None:
    post(store, 1)
    with store.database.read() as connection:
        (row,) = connection.execute(select(schema.outbox)).mappings()
    assert row["status"] == "pending"  # so that it takes over, should there be nobody else
    assert row["next_at"] > NOW + timedelta(days=1)


def test_what_the_release_before_has_begun_goes_on_from_there(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    later = NOW + timedelta(seconds=40)
    as_released(store, status="pending", next_at=later, tries=3, hook="failed", mail="delivered")
    assert address(store, later - timedelta(seconds=1)) == []
    address(store, later, channels=("hook", "mail", "pager"))
    assert store.outbox.due_channels(later) == ["hook", "pager"]
    (hook,) = take(store, later)
    assert hook.tries == 3


def test_what_the_release_before_has_ended_is_shown_and_not_sent(store: Store) -> None:
    store.outbox.post([alert()], NOW)
    as_released(store, status="delivered", next_at=NOW, tries=0, hook="delivered")
    assert address(store, NOW + timedelta(days=9)) == []
    assert [(d.channel, d.state) for d in stands(store).deliveries] == [
        ("hook", DeliveryState.DELIVERED)
    ]


def test_what_the_release_before_has_revived_is_sent(store: Store) -> None:
    post(store, 1)
    (delivery,) = take(store)
    store.outbox.settle([(delivery, failed(delivery, None))], NOW)
    assert stands(store).status is AlertStatus.DEAD
    later = NOW + timedelta(days=1)
    as_released(store, status="pending", next_at=later, tries=0)
    address(store, later)
    assert store.outbox.due_channels(later) == ["hook"]


def test_on_the_tables_of_the_release_before_the_first_courier_adds_its_own(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(text("DROP TABLE delivery"))
    opened = Store(Database(store.database.url.render_as_string(hide_password=False)))
    opened.outbox.post([alert()], NOW)
    assert stands(opened).deliveries == ()
    assert opened.outbox.due() == NOW
    address(opened)
    (delivery,) = take(opened)
    opened.outbox.settle([(delivery, told(delivery))], NOW)
    assert stands(opened).status is AlertStatus.DELIVERED
    opened.close()


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
    can = Capabilities(worker="w", slots={"processes": 1}, default_executor="processes", now=NOW)
    step = store.runs.step([], can, runs=[run.id])
    (claim,) = step.claims
    if outcome is OutcomeKind.STOPPED:
        store.runs.note_stopping(claim.attempt.id, "timeout", NOW)
    store.runs.step(
        [Outcome(attempt_id=claim.attempt.id, kind=outcome, **how)],  # type: ignore[arg-type]
        can, runs=[run.id],
    )  # fmt: skip
    return run.id


def test_a_run_that_fails_has_its_alert_in_the_same_commit(store: Store) -> None:
    error = ErrorInfo(type="ValueError", message="no luck", kinds=("builtins.ValueError",))
    run_id = ended(store, OutcomeKind.FAILED, error=error)
    run = store.reads.find(run_id)
    (record,) = store.outbox.list()
    assert record.alert.key == f"failed:{run_id}:{run.seq}"
    assert record.alert.reason == "one: ValueError: no luck"
    assert record.alert.next == f"ratchet retry {run_id}"
    assert record.alert.at == run.ended_at


def test_a_run_that_halts_has_its_alert_and_one_that_succeeds_has_none(store: Store) -> None:
    run_id = ended(store, OutcomeKind.HALTED, reason="the data is bad")
    (record,) = store.outbox.list()
    assert (record.alert.kind, record.alert.reason) == (AlertKind.HALTED, "the data is bad")
    assert record.alert.next == f"ratchet show {run_id}"


def test_a_run_whose_task_was_ended_at_its_timeout_timed_out(store: Store) -> None:
    ended(store, OutcomeKind.STOPPED)
    (record,) = store.outbox.list()
    assert record.alert.kind is AlertKind.TIMED_OUT
    assert record.alert.reason == "one: TimedOut: one was ended after its timeout of 5 s"


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
    (record,) = store.outbox.list()
    assert (record.alert.kind, record.alert.title) == (AlertKind.CHAMPION_HARMFUL, "worse")
    assert record.alert.subject == run_id

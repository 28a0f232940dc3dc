"""What is said: the kind, the reason, since when, and the next step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.alert import (
    NOTICEABLE,
    NOTICED,
    TOLD_OF,
    Alert,
    AlertKind,
    Severity,
    Throttle,
    alert_of_run,
    champion_changed,
    deadline_at_risk,
    deadline_missed,
    digest_of,
    schedule_disabled,
)
from flows.core.errors import ConfigError
from flows.core.lifecycle import RunEvent
from flows.core.records import ErrorInfo, Event, Run, RunStatus, TaskRun, TaskStatus

NOW = datetime(2026, 7, 4, 3, tzinfo=UTC)
RUN = Run(
    id="260704-030000-7f3a2k",
    flow="retrain",
    key="night",
    status=RunStatus.FAILED,
    reason="train: ValueError: no luck",
    source="flows.retrain:retrain",
    config_digest="",
    trigger={},
    created_at=NOW - timedelta(hours=1),
    started_at=NOW - timedelta(hours=1),
    ended_at=NOW,
    seq=12,
)


def event(kind: str) -> Event:
    return Event(id=0, seq=12, at=NOW, kind=kind, run_id=RUN.id, task=None, attempt=None, data={})


def cause(error: str) -> TaskRun:
    return TaskRun(
        run_id=RUN.id,
        key="train",
        status=TaskStatus.FAILED,
        ended_at=NOW - timedelta(minutes=3),
        error=ErrorInfo(type=error, message="no luck"),
    )


def test_people_are_told_of_failures_halts_and_what_tasks_noticed_only() -> None:
    assert {RunEvent.FAILED, RunEvent.HALTED, NOTICED} == TOLD_OF
    for kind in RunEvent:
        assert (alert_of_run(RUN, event(kind)) is not None) is (kind in TOLD_OF)


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        ("champion_harmful", Severity.CRITICAL),
        ("champion_unwatched", Severity.CRITICAL),
        ("noticed", Severity.WARNING),
    ],
)
def test_a_notice_is_told_as_its_task_said_it(kind: str, severity: Severity) -> None:
    alert = notice(f"{kind}:k", kind)
    assert (alert.key, alert.kind, alert.title, alert.reason) == (
        f"{kind}:k", AlertKind(kind), "worse", "by 2 points",
    )  # fmt: skip
    assert (alert.subject, alert.flow, alert.next) == (RUN.id, "retrain", "look")
    assert alert.severity is severity


@pytest.mark.parametrize("kind", sorted({*AlertKind, "of a later version"} - set(NOTICEABLE)))
def test_a_notice_cannot_pass_for_what_ratchet_itself_tells_of(kind: str) -> None:
    alert = notice(f"{kind}:{RUN.id}:12", kind)
    assert (alert.kind, alert.severity) == (AlertKind.NOTICED, Severity.WARNING)
    assert alert.key == f"noticed:{kind}:{RUN.id}:12"  # nor keep it from being told


def test_a_notice_cannot_take_the_key_of_another_alert() -> None:
    assert notice(f"failed:{RUN.id}:12", "noticed").key == f"noticed:failed:{RUN.id}:12"


def notice(key: str, kind: str) -> Alert:
    data = {"key": key, "kind": kind, "title": "worse", "reason": "by 2 points", "next": "look"}
    alert = alert_of_run(RUN, replace(event(NOTICED), data=data))
    assert alert is not None
    return alert


@pytest.mark.parametrize("text", ["x" * 10**6, "caf\udce9.csv\x00" * 999, "", "\n\r\t" * 999])
def test_whatever_an_alert_says_fits_a_message_and_can_be_stored(text: str) -> None:
    alert = Alert(
        key=text, kind=AlertKind.NOTICED, severity=Severity.INFO, flow=text, subject=text,
        title=text, reason=text, since=NOW, at=NOW, next=text,
    )  # fmt: skip
    texts = [alert.key, alert.flow or "", alert.subject, alert.title, alert.reason, alert.next]
    for kept, longest in zip(texts, (300, 200, 200, 200, 2000, 500), strict=True):
        assert len(kept) <= longest
        assert "\x00" not in kept
        kept.encode()
    assert replace(alert) == alert  # made to fit once


def test_what_is_too_long_ends_with_a_whole_word() -> None:
    url = "postgresql://me:T0PS3CRET@db/x"
    for before in range(1960, 2001):
        reason = "x " * (before // 2) + url
        alert = alert_of_run(replace(RUN, reason=reason), event("run.failed"))
        assert alert is not None
        assert url in alert.reason or "postgresql" not in alert.reason


def test_long_keys_stay_different() -> None:
    def key(end: str) -> str:
        return notice(f"noticed:{'k' * 400}{end}", "noticed").key

    assert key("a") != key("b")


def test_a_failure_says_what_why_since_when_and_what_to_type() -> None:
    assert alert_of_run(RUN, event("run.failed"), cause("ValueError")) == Alert(
        key="failed:260704-030000-7f3a2k:12",
        kind=AlertKind.FAILED,
        severity=Severity.CRITICAL,
        flow="retrain",
        subject=RUN.id,
        title="retrain failed",
        reason="train: ValueError: no luck",
        since=NOW - timedelta(minutes=3),
        at=NOW,
        next="ratchet retry 260704-030000-7f3a2k",
    )


def test_a_failure_for_a_timeout_is_told_as_one() -> None:
    told = alert_of_run(RUN, event("run.failed"), cause("TimedOut"))
    assert told is not None
    assert (told.kind, told.title) == (AlertKind.TIMED_OUT, "retrain timed out")


def test_a_halt_is_a_warning_and_without_a_cause_began_when_the_run_ended() -> None:
    told = alert_of_run(replace(RUN, reason=None), event("run.halted"))
    assert told is not None
    assert (told.kind, told.severity) == (AlertKind.HALTED, Severity.WARNING)
    assert (told.since, told.reason) == (NOW, "no reason was recorded")


def test_a_halt_that_knows_what_to_do_next_says_it() -> None:
    waits = replace(cause("Halt"), error=ErrorInfo(type="Halt", message="m", hint="approve it"))
    told = alert_of_run(RUN, event("run.halted"), waits)
    plain = alert_of_run(RUN, event("run.halted"), replace(waits, error=None))
    assert told is not None
    assert plain is not None
    assert (told.next, plain.next) == ("approve it", f"ratchet show {RUN.id}")


@pytest.mark.parametrize(
    ("says", "kind", "severity", "title"),
    [
        ("bad_data", AlertKind.BAD_DATA, Severity.WARNING, "retrain halted: bad data"),
        ("not_proven", AlertKind.NOT_PROVEN, Severity.INFO, "retrain halted: not proven better"),
        (
            "awaits_approval",
            AlertKind.AWAITS_APPROVAL,
            Severity.WARNING,
            "retrain halted: it waits for approval",
        ),
        ("halted", AlertKind.HALTED, Severity.WARNING, "retrain halted"),
        ("failed", AlertKind.HALTED, Severity.WARNING, "retrain halted"),
        ("of my own", AlertKind.HALTED, Severity.WARNING, "retrain halted"),
    ],
)
def test_bad_data_and_a_model_that_is_not_proven_can_be_routed_apart(
    says: str, kind: AlertKind, severity: Severity, title: str
) -> None:
    halt = ErrorInfo(type="Halt", message="m", kinds=(says,))

    told = alert_of_run(RUN, event("run.halted"), replace(cause("Halt"), error=halt))

    assert told is not None
    assert (told.kind, told.severity, told.title) == (kind, severity, title)


def test_a_run_that_fails_again_after_a_retry_is_told_again() -> None:
    first = alert_of_run(RUN, event("run.failed"))
    second = alert_of_run(RUN, replace(event("run.failed"), seq=20))
    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_a_deadline_is_told_once_at_risk_and_once_missed() -> None:
    risk = deadline_at_risk(RUN, NOW, "3 of 5 tasks are left", now=NOW - timedelta(minutes=9))
    missed = deadline_missed(RUN, NOW, "2 of 5 tasks are left", now=NOW + timedelta(seconds=1))
    assert (risk.severity, missed.severity) == (Severity.WARNING, Severity.CRITICAL)
    assert risk.title == "retrain: deadline at risk, due 2026-07-04 03:00 UTC"
    assert (missed.since, missed.at) == (NOW, NOW + timedelta(seconds=1))
    assert risk.key != missed.key


def test_a_disabled_schedule_is_told_once_for_each_time() -> None:
    told = [schedule_disabled("nightly", "retrain", "no zone", seq=n, now=NOW) for n in (4, 4, 9)]
    assert [alert.key for alert in told[:2]] == ["schedule_disabled:nightly:4"] * 2
    assert told[2].key == "schedule_disabled:nightly:9"
    assert told[0].next == "ratchet schedules resume nightly"


def test_a_champion_that_was_moved_or_removed_is_told_once_for_each_change() -> None:
    moved = champion_changed("digits", 12, "9", "The alias names version 9.", "adopt", NOW)
    removed = champion_changed("digits", 12, None, "The alias was removed.", "restore", NOW)
    assert (moved.reason, moved.next) == ("The alias names version 9.", "adopt")
    assert moved.key != removed.key


def test_a_digest_counts_by_kind_and_is_as_severe_as_its_worst() -> None:
    failed = alert_of_run(RUN, event("run.failed"))
    halted = alert_of_run(RUN, event("run.halted"))
    assert failed is not None
    assert halted is not None
    digest = digest_of((halted, failed, replace(halted, key="x", flow="other")), NOW)
    assert digest.title == "3 more alerts: 2 halted, 1 failed"
    assert digest.reason == "retrain halted, retrain failed"
    assert (digest.severity, digest.flow) == (Severity.CRITICAL, None)
    assert digest.next == "ratchet alerts"


def test_the_windows_of_a_throttle_begin_at_multiples_of_it() -> None:
    throttle = Throttle(alerts=3, window=timedelta(minutes=10))
    assert throttle.begin(NOW + timedelta(minutes=19, seconds=3)) == NOW + timedelta(minutes=10)
    assert throttle.begin(NOW) == NOW


@pytest.mark.parametrize("wrong", [{"alerts": 0}, {"window": timedelta(0)}])
def test_a_throttle_that_tells_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="tells nobody anything"):
        Throttle(**wrong)  # type: ignore[arg-type]

"""Alerts: each trouble is told at least once on every channel, and nothing else is."""

from __future__ import annotations

from flows.core.alert import LetterStatus
from tests.simulation.findings import Findings, Record
from tests.simulation.post import Channels


def check_letters(found: Findings, record: Record, channels: Channels) -> None:
    """What the events call for is in the outbox, and what is in it has arrived."""
    letters = {letter.alert.key: letter for letter in record.store.outbox.list(limit=100_000)}
    wanted = {
        f"{event.run_id}:{event.seq}"
        for event in record.events
        if event.kind in ("run.failed", "run.halted")
    }
    told = {
        key.partition(":")[2]
        for key in letters
        if key.startswith(("failed:", "halted:", "timed_out:"))
    }
    for key in sorted(wanted - told):
        found.check(False, f"nobody was told of {key}")
    for key in sorted(told - wanted):
        found.check(False, f"people were told of {key}, and no event says so")
    disabled = [e for e in record.events if e.kind == "schedule.disabled"]
    about = [key for key in letters if key.startswith("schedule_disabled:")]
    found.check(len(about) == len(disabled), f"{len(disabled)} schedules disabled, told: {about}")
    for key, letter in sorted(letters.items()):
        found.check(letter.status is LetterStatus.DELIVERED, f"{key} is still {letter.status}")
        for channel in channels.channels(letter.alert):
            found.check(channels.received[channel, key], f"{channel} never received {key}")
    found.counts["alerts"] = len(letters)

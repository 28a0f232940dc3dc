"""Alerts: each trouble is told at least once on every channel, and nothing else is."""

from __future__ import annotations

from collections import Counter

from flows.core.alert import AlertStatus, DeliveryState
from tests.simulation.channels import Channels
from tests.simulation.findings import Findings, Record


def check_alerts(found: Findings, record: Record, channels: Channels) -> None:
    """What the events call for is in the outbox, and what is in it has arrived."""
    records = {one.alert.key: one for one in record.store.outbox.list(limit=100_000)}
    wanted = {
        f"{event.run_id}:{event.seq}"
        for event in record.events
        if event.kind in ("run.failed", "run.halted")
    }
    told = {
        key.partition(":")[2]
        for key in records
        if key.startswith(("failed:", "halted:", "timed_out:"))
    }
    for key in sorted(wanted - told):
        found.check(False, f"nobody was told of {key}")
    for key in sorted(told - wanted):
        found.check(False, f"people were told of {key}, and no event says so")
    disabled = [e for e in record.events if e.kind == "schedule.disabled"]
    about = [key for key in records if key.startswith("schedule_disabled:")]
    found.check(len(about) == len(disabled), f"{len(disabled)} schedules disabled, told: {about}")
    digested: Counter[str] = Counter()
    for key, one in sorted(records.items()):
        found.check(one.status is AlertStatus.DELIVERED, f"{key} is still {one.status}")
        for delivery in one.deliveries:
            channel = delivery.channel
            if delivery.state is DeliveryState.DIGESTED:
                digested[channel] += 1
            else:
                found.check(channels.received[channel, key], f"{channel} never received {key}")
    for channel, count in digested.items():
        problem = f"{channel} received digests of {channels.digested[channel]} alerts, not {count}"
        found.check(channels.digested[channel] >= count, problem)
    found.counts["alerts"] = len(records)

"""`ratchet schedules`, `backfill` and what `check` says of schedules, on a small project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

DAILY = {"flow": "nightly", "cron": "0 3 * * *", "zone": "Europe/Berlin", "overrides": ["parts=1"]}


def declare(project: Path, **schedules: Any) -> None:
    file = project / "conf" / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"schedules": schedules}))


def shown(result: Any, code: int = 0) -> Any:
    assert result.exit_code == code, result.stdout + result.stderr
    return json.loads(result.stdout)


def said(result: Any, code: int = 0) -> str:
    assert result.exit_code == code, result.stdout + result.stderr
    return str(result.stdout)


def test_without_schedules_the_list_says_where_to_write_one(ratchet):
    assert "next: write one into conf/config.yaml" in said(ratchet("schedules"))


def test_what_is_declared_is_listed_before_and_after_it_is_saved(ratchet, project):
    declare(project, daily=DAILY, hook={"flow": "nightly", "on_request": True})
    before = said(ratchet("schedules"))
    assert "at 03:00 every day, Europe/Berlin  o declared" in before.replace("○", "o")
    assert "next: ratchet schedules sync" in before
    assert shown(ratchet("schedules", "--json"))["not_saved"] == ["daily", "hook"]

    assert said(ratchet("schedules", "sync")) == "saved: daily, hook\n"
    assert "nothing has changed; 2 schedules" in said(ratchet("schedules", "sync"))
    listed = shown(ratchet("schedules", "--json"))
    assert listed["not_saved"] == []
    daily, hook = listed["schedules"]
    expected = {
        "name": "daily", "flow": "nightly", "status": "active", "last": None, "missed": "latest",
        "when": "at 03:00 every day, Europe/Berlin", "origin": "config", "reason": None,
        "trigger": {"kind": "Cron", "cron": "0 3 * * *", "zone": "Europe/Berlin"},
    }  # fmt: skip
    assert daily | expected == daily
    assert daily["next"].endswith(("T01:00:00+00:00", "T02:00:00+00:00"))
    assert (hook["when"], hook["next"]) == ("on request", None)

    declare(project, hook={"flow": "nightly", "on_request": True})
    assert said(ratchet("schedules", "sync")) == "removed: daily\n"


def test_a_schedule_that_cannot_be_is_told_of_and_the_others_are_saved(ratchet, project, tmp_path):
    (tmp_path / "home" / "features").mkdir(parents=True)
    declare(
        project,
        daily=DAILY,
        misfit={**DAILY, "overrides": ["prts=1"]},
        none={"flow": "nightly"},
        nowhere={**DAILY, "zone": "Europe/Berln"},
        unseen={"flow": "nightly", "new_data": "sales"},
    )
    lines = said(ratchet("schedules", "sync"), code=1).splitlines()
    assert lines[0] == "saved: daily"
    assert [line.split()[1] for line in lines[1:]] == ["none:", "misfit:", "nowhere:", "unseen:"]
    assert all("  next: " in line for line in lines[1:])
    synced = shown(ratchet("schedules", "sync", "--json"), code=1)
    assert (synced["unchanged"], set(synced["refused"])) == (
        ["daily"], {"misfit", "none", "nowhere", "unseen"}
    )  # fmt: skip

    checked = {f["what"]: f for f in shown(ratchet("check", "--json"), code=1)["findings"]}
    assert "did you mean parts?" in checked["schedule misfit"]["problem"]
    assert checked["schedule nowhere"]["hint"] == "did you mean Europe/Berlin?"
    assert "sales" in checked["schedule unseen"]["problem"]
    (good,) = [what for what in checked if what.startswith("schedule daily, at 03:00")]
    assert checked[good]["ok"]
    assert "next 20" in good


def test_a_schedule_fires_on_request_once_for_each_key(ratchet, project):
    declare(project, hook={"flow": "nightly", "on_request": True, "overrides": ["parts=1"]})
    said(ratchet("schedules", "sync"))
    first = shown(ratchet("schedules", "fire", "hook", "--key", "42", "--json"))
    again = shown(ratchet("schedules", "fire", "hook", "--key", "42", "--json"))
    assert (first["outcome"], first["key"], first) == ("started", "42", again)
    told = said(ratchet("schedules", "fire", "hook", "--key", "42"))
    assert told == (
        f"schedule hook fired: run {first['run']}\n"
        "next: ratchet up, or ratchet worker: nobody is at work\n"
    )
    run = shown(ratchet("show", first["run"], "--json"))
    assert (run["status"], run["trigger"]["overrides"]) == ("queued", ["parts=1"])
    assert run["config"]["parts"] == 1

    fires = said(ratchet("schedules", "show", "hook"))
    assert f"{first['run']}" in fires
    assert shown(ratchet("schedules", "show", "hook", "--json"))["fires"] == [first]


def test_a_schedule_is_paused_with_a_reason_and_resumed(ratchet, project):
    declare(project, daily=DAILY)
    said(ratchet("schedules", "sync"))
    paused = said(ratchet("schedules", "pause", "daily", "--reason", "the store moves"))
    assert "schedule daily is paused: paused by " in paused
    assert ": the store moves\nnext: ratchet schedules resume daily\n" in paused
    assert "the store moves" in said(ratchet("schedules"))
    assert "paused" in said(ratchet("schedules", "show", "daily"))
    assert shown(ratchet("schedules", "resume", "daily", "--json"))["status"] == "active"


def test_an_unknown_schedule_is_one_line(ratchet, project):
    declare(project, daily=DAILY)
    said(ratchet("schedules", "sync"))
    for verb in ("show", "pause", "resume", "fire"):
        result = ratchet("schedules", verb, "dayly")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "dayly" in result.stderr
        assert "daily" in result.stderr
        assert len(result.stderr.splitlines()) == 2


def test_a_backfill_lists_what_it_would_start_then_starts_it_once(ratchet, project):
    declare(project, daily=DAILY)
    said(ratchet("schedules", "sync"))
    march = ("backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-31")
    would = said(ratchet(*march, "--dry-run"))
    assert [line.split("Z")[0].strip() for line in would.splitlines()[1:4]] == [
        "2026-03-28 02:00", "2026-03-29 01:00", "2026-03-30 01:00",
    ]  # fmt: skip
    assert "3 of 3 would start, 0 are there already" in would

    some = shown(ratchet(*march, "--limit", "2", "--json"))
    assert [each["started"] for each in some] == [True, True, False]
    rest = said(ratchet(*march))
    assert "1 of 3 started, 2 are there already; next: ratchet runs" in rest
    assert "0 of 3 started, 3 are there already\n" in said(ratchet(*march))
    assert len(shown(ratchet("runs", "--json"))) == 3


def test_a_backfill_without_a_schedule_takes_a_distance(ratchet):
    week = ("backfill", "nightly", "--from", "2026-03-01", "--to", "2026-03-08")
    refused = ratchet(*week)
    assert refused.exit_code == 2
    assert "give a distance: --every 1d" in refused.stderr
    assert "7 of 7 would start" in said(ratchet(*week, "--every", "1d", "--dry-run"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--from", "yesterday", "--to", "2026-03-08"), "--from 'yesterday' is no time"),
        (("--from", "2026-03-01", "--to", "2026-02-31"), "--to '2026-02-31' is no time"),
        (
            ("--from", "2026-03-01", "--to", "2026-03-02", "--every", "daily"),
            "is no length of time",
        ),
    ],
)
def test_a_backfill_of_no_time_is_one_line(ratchet, arguments, problem):
    result = ratchet("backfill", "nightly", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr

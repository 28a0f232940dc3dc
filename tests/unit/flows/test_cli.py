"""The commands, in this process, on a small project."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from feature_store import Watermarks
from flows.bootstrap import open_project
from flows.cli.app import COMMANDS
from flows.cli.driving import Driver, View
from flows.core.errors import NotStorable
from flows.core.records import Run
from flows.up.private_file import write_json
from flows.up.process import Process

RUN_KEYS = {
    "id",
    "flow",
    "key",
    "status",
    "reason",
    "trigger",
    "config_digest",
    "created",
    "started",
    "ended",
    "duration_s",
}

Ratchet = Callable[..., Any]


def shown(result: Any, code: int = 0) -> Any:
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


# ---------------------------------------------------------------- the group of commands


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
import flows.cli.app
print(*sorted({"ray", "mlflow", "sklearn", "pandas", "hydra", "sqlalchemy", "pyarrow",
               "pydantic", "duckdb"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_each_line_of_the_help_is_a_command_that_has_help_itself(ratchet: Ratchet) -> None:
    listed = ratchet("--help").stdout
    for entry in COMMANDS:
        assert entry.help in listed
        helped = ratchet(entry.name, "--help")
        assert helped.exit_code == 0
        assert f"{entry.name} " in helped.stdout


def test_an_unknown_command_names_the_nearest(ratchet: Ratchet) -> None:
    result = ratchet("shw")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: there is no command shw\n  next: ratchet show\n"


def test_a_wrong_option_is_one_line_with_the_help_to_read(ratchet: Ratchet) -> None:
    result = ratchet("runs", "--limits", "3")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: No such option: --limits")
    assert result.stderr.endswith("  next: ratchet runs --help\n")


def test_version_and_a_bare_call_succeed(ratchet: Ratchet) -> None:
    assert ratchet("--version").stdout.startswith("ratchet ")
    assert "Usage: ratchet" in ratchet().stdout


# ---------------------------------------------------------------- run


@pytest.mark.parametrize(
    ("ending", "code", "status", "reason"),
    [
        ("succeed", 0, "succeeded", None),
        ("halt", 3, "halted", "the data is not fit: column price has 40 % nulls"),
        ("skip", 0, "skipped", "no new data"),
        ("fail", 1, "failed", "decide: ValueError: the tap is closed"),
    ],
)
def test_the_exit_code_and_the_json_say_how_a_run_ended(
    ratchet: Ratchet, ending: str, code: int, status: str, reason: str | None
) -> None:
    result = ratchet("run", "nightly", f"ending={ending}", "--json")
    run = json.loads(result.stdout)
    assert result.exit_code == code
    assert run.keys() == RUN_KEYS
    assert (run["flow"], run["status"], run["reason"]) == ("nightly", status, reason)
    assert run["trigger"]["kind"] == "cli"
    assert run["trigger"]["overrides"] == [f"ending={ending}"]
    assert run["created"].endswith("+00:00")


def test_a_run_in_a_pipe_prints_a_line_for_each_task_and_what_to_type_next(
    ratchet: Ratchet,
) -> None:
    result = ratchet("run", "nightly", "ending=fail")
    lines = result.stdout.splitlines()
    assert any(line.endswith("collect succeeded") for line in lines)
    assert any(line.endswith("decide failed: ValueError: the tap is closed") for line in lines)
    assert lines[-2].startswith("next: ratchet logs ")
    assert lines[-2].endswith(" decide")
    assert lines[-1].startswith("  or: ratchet retry ")


def test_an_inline_run_works_too(ratchet: Ratchet) -> None:
    assert ratchet("run", "nightly", "--executor", "inline").exit_code == 0


def test_an_override_of_a_setting_holds_for_the_run(ratchet: Ratchet) -> None:
    shown(ratchet("run", "nightly", "executor=inline", "--json"))
    attempts = shown(ratchet("show", "--json"))["attempts"]
    assert {attempt["executor"] for attempt in attempts} == {"inline"}


def test_the_same_key_is_the_same_run(ratchet: Ratchet) -> None:
    first = shown(ratchet("run", "nightly", "--key", "night-1", "--json"))
    again = shown(ratchet("run", "nightly", "--key", "night-1", "--json"))
    assert first == again
    assert first["key"] == "night-1"
    assert len(shown(ratchet("runs", "--json"))) == 1


def test_a_sweep_runs_every_combination_and_ends_with_the_worst_code(ratchet: Ratchet) -> None:
    result = ratchet("run", "nightly", "-m", "ending=succeed,halt", "parts=1,2", "--json")
    runs = json.loads(result.stdout)
    assert result.exit_code == 3
    assert [run["trigger"]["overrides"] for run in runs] == [
        ["ending=succeed", "parts=1"],
        ["ending=succeed", "parts=2"],
        ["ending=halt", "parts=1"],
        ["ending=halt", "parts=2"],
    ]
    assert [run["status"] for run in runs] == ["succeeded", "succeeded", "halted", "halted"]


def test_a_sweep_prints_a_table_of_its_runs(ratchet: Ratchet) -> None:
    lines = ratchet("run", "nightly", "-m", "parts=1,2").stdout.splitlines()
    assert lines[-3].split() == ["run", "overrides", "status", "took", "reason"]
    assert [line.split()[1] for line in lines[-2:]] == ["parts=1", "parts=2"]


def test_a_run_of_a_sweep_that_cannot_be_driven_on_stops_no_other(
    ratchet: Ratchet, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive, runs = Driver.drive, []

    def unreadable_at_first(driver: Driver, run: Run, view: View) -> Run:
        runs.append(run)
        if len(runs) == 1:
            raise NotStorable("task work of the run cannot be read")
        return drive(driver, run, view)

    monkeypatch.setattr(Driver, "drive", unreadable_at_first)
    result = ratchet("run", "nightly", "-m", "parts=1,2", "--json")
    assert result.exit_code == 1
    assert "error: task work of the run cannot be read" in result.stderr
    assert [run["status"] for run in json.loads(result.stdout)] == ["queued", "succeeded"]


def test_a_mistake_in_the_last_run_of_a_sweep_is_told_before_the_first(ratchet: Ratchet) -> None:
    result = ratchet("run", "nightly", "-m", "parts=1,many")
    assert result.exit_code == 2
    assert shown(ratchet("runs", "--json")) == []


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["run", "nightyl"], "there is no flow 'nightyl'", "did you mean nightly?"),
        (["run", "nightly", "endin=halt"], "did you mean ending?", "use ending"),
        (["run", "nightly", "parts=many"], "parts must be", None),
        (["run", "nightly", "--key", "a", "-m"], "one key cannot name several runs", "leave out"),
        (["runs", "--status", "done"], "there is no status 'done'", "succeeded"),
        (["runs", "--flow", "nightyl"], "there is no flow 'nightyl'", "nightly"),
        (["show", "nope"], "there is no run nope", "ratchet runs"),
        (["logs", "last"], "there is no run yet", "ratchet run"),
        (["features", "show", "clicks"], "no view 'clicks'", None),
        (["features", "append", "clicks", "no.csv"], "no view 'clicks'", None),
        (["champion", "--adopt"], "needs a model", "ratchet champion MODEL"),
    ],
)
def test_a_mistake_is_one_line_and_the_next_step(
    ratchet: Ratchet, arguments: list[str], error: str, hint: str | None
) -> None:
    result = ratchet(*arguments)
    lines = result.stderr.splitlines()
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert len(lines) <= 2
    if hint is not None:
        assert lines[1].startswith("  next: ")
        assert hint in lines[1]


def test_debug_shows_the_traceback(ratchet: Ratchet) -> None:
    assert "Traceback" not in ratchet("show", "nope").stderr
    assert "Traceback" in ratchet("--debug", "show", "nope").stderr


def test_what_nobody_expected_is_one_line_with_its_type(
    ratchet: Ratchet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("flows.cli.runs.print_json", fall)
    result = ratchet("runs", "--json")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "error: ZeroDivisionError: division by zero"
    assert "--debug" in result.stderr.splitlines()[1]


def test_a_full_disk_says_to_free_space(ratchet: Ratchet, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/logs")

    monkeypatch.setattr("flows.cli.runs.print_json", fall)
    error, advice = ratchet("runs", "--json").stderr.splitlines()
    assert error == "error: a disk is full (/home/logs)"
    assert advice.startswith("  next: free some space")


def test_a_home_that_the_project_overrules_is_refused(ratchet: Ratchet, project: Path) -> None:
    config = project / "conf" / "config.yaml"
    config.write_text(config.read_text() + "home: elsewhere\n")
    result = ratchet("--home", str(project / "here"), "runs")
    assert result.exit_code == 2
    assert "whatever --home says" in result.stderr


def test_home_says_where_the_runs_are(ratchet: Ratchet, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    shown(ratchet("--home", other, "run", "nightly", "--json"))
    assert len(shown(ratchet("--home", other, "runs", "--json"))) == 1
    assert (tmp_path / "other" / "ratchet.db").exists()
    assert not (tmp_path / "home").exists()


# ---------------------------------------------------------------- runs, show, logs


def test_runs_are_an_array_newest_first(ratchet: Ratchet) -> None:
    assert shown(ratchet("runs", "--json")) == []
    shown(ratchet("run", "nightly", "--json"))
    ratchet("run", "nightly", "ending=halt")
    runs = shown(ratchet("runs", "--json"))
    assert [run["status"] for run in runs] == ["halted", "succeeded"]
    assert all(run.keys() == RUN_KEYS for run in runs)
    assert len(shown(ratchet("runs", "--limit", "1", "--json"))) == 1
    assert [r["status"] for r in shown(ratchet("runs", "--status", "halted", "--json"))] == [
        "halted"
    ]


def test_the_table_of_runs_shows_status_and_reason(ratchet: Ratchet) -> None:
    assert "no runs yet" in ratchet("runs").stdout
    ratchet("run", "nightly", "ending=halt")
    heading, line = ratchet("runs").stdout.splitlines()
    assert heading.split() == ["run", "flow", "status", "created", "took", "reason"]
    assert "■ halted" in line
    assert "column price has 40 % nulls" in line


def test_show_has_tasks_attempts_errors_and_the_changed_config(ratchet: Ratchet) -> None:
    first = shown(ratchet("run", "nightly", "--json"))
    ratchet("run", "nightly", "ending=fail", "--json")
    run = shown(ratchet("show", "last", "--json"))
    assert run.keys() == RUN_KEYS | {
        "tasks",
        "attempts",
        "verdict",
        "mlflow_run_id",
        "config",
        "previous",
        "config_changes",
    }
    assert run["previous"] == first["id"]
    assert run["config_changes"] == [{"key": "ending", "old": "succeed", "new": "fail"}]
    tasks = {task["key"]: task for task in run["tasks"]}
    assert set(tasks) == {
        "collect",
        "decide",
        "split",
        "double",
        "double[0]",
        "double[1]",
        "report",
    }
    assert tasks["collect"]["value"] == 20
    assert tasks["decide"]["error"]["message"] == "the tap is closed"
    assert "nightly.py" in tasks["decide"]["error"]["trace"]
    assert run["config"]["ending"] == "fail"
    assert {attempt["task"] for attempt in run["attempts"]} >= {"collect", "decide"}


def test_show_for_people_has_the_end_of_the_trace_and_the_changes(ratchet: Ratchet) -> None:
    ratchet("run", "nightly")
    ratchet("run", "nightly", "ending=fail")
    text = ratchet("show").stdout
    assert "✗ failed" in text
    assert "ValueError: the tap is closed" in text
    assert "config key" in text
    assert "2 of 2" in text


def test_a_run_is_found_by_the_end_of_its_id(ratchet: Ratchet) -> None:
    run = shown(ratchet("run", "nightly", "--json"))
    assert shown(ratchet("show", run["id"][-4:], "--json"))["id"] == run["id"]


def test_a_misspelled_run_is_answered_with_the_nearest(ratchet: Ratchet) -> None:
    run = shown(ratchet("run", "nightly", "--json"))
    mistyped = run["id"][-6:-1] + "-"
    assert ratchet("show", mistyped).stderr == (
        f"error: there is no run {mistyped}\n  next: did you mean {run['id']}?\n"
    )


def test_logs_have_what_each_attempt_printed(ratchet: Ratchet) -> None:
    ratchet("run", "nightly")
    text = ratchet("logs").stdout
    assert "== collect (threads)\ncollected\n" in text
    assert "== double[1] (threads)\npart 1\n" in text
    assert "collected" not in ratchet("logs", "last", "double").stdout
    pieces = shown(ratchet("logs", "last", "collect", "--json"))
    assert [(piece["task"], piece["text"]) for piece in pieces] == [("collect", "collected\n")]


def test_logs_of_an_ended_run_can_be_followed_to_their_end(ratchet: Ratchet) -> None:
    ratchet("run", "nightly")
    assert "collected" in ratchet("logs", "-f").stdout


def test_logs_of_an_unknown_task_name_the_nearest(ratchet: Ratchet) -> None:
    ratchet("run", "nightly")
    result = ratchet("logs", "last", "colect")
    assert result.exit_code == 2
    assert "did you mean collect?" in result.stderr


# ---------------------------------------------------------------- retry, cancel


def test_retry_runs_only_what_had_not_succeeded(ratchet: Ratchet, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    failed = ratchet("run", "nightly", "ending=repair", f"notes={notes}", "--json")
    assert failed.exit_code == 1
    Path(f"{notes}.repaired").touch()
    run = shown(ratchet("retry", "last", "--json"))
    assert run["status"] == "succeeded"
    assert run["id"] == json.loads(failed.stdout)["id"]
    assert notes.read_text().split() == ["collect", "decide", "decide", "report"]


def test_a_run_that_succeeded_cannot_be_retried_or_cancelled(ratchet: Ratchet) -> None:
    ratchet("run", "nightly")
    for command in ("retry", "cancel"):
        result = ratchet(command, "last")
        assert result.exit_code == 2
        assert "succeeded" in result.stderr


def test_cancel_ends_a_run_that_nobody_drives(ratchet: Ratchet, project: Path) -> None:
    opened = open_project(project)
    waiting = opened.start(opened.flow("nightly"), trigger={"kind": "test"})
    opened.close()
    run = shown(ratchet("cancel", waiting.id, "--json"))
    assert (run["status"], run["id"]) == ("cancelled", waiting.id)
    assert run["reason"].startswith("cancelled by ")


# ---------------------------------------------------------------- check, doctor


def test_check_is_content_with_the_project(ratchet: Ratchet) -> None:
    found = shown(ratchet("check", "--json"))
    assert found["ok"]
    assert [finding["what"] for finding in found["findings"]] == [
        "module nightly",
        "flow nightly, 5 tasks",
        "config conf/flow/nightly.yaml",
    ]


def test_check_names_a_broken_module_and_a_wrong_config(ratchet: Ratchet, project: Path) -> None:
    (project / "broken_flows.py").write_text("import no_such_module\n")
    config = project / "conf" / "config.yaml"
    config.write_text(config.read_text().replace("[nightly]", "[nightly, broken_flows]"))
    flow = project / "conf" / "flow" / "nightly.yaml"
    flow.write_text(flow.read_text() + "part: 3\n")
    result = ratchet("check")
    assert result.exit_code == 1
    wrong = [line for line in result.stdout.splitlines() if line.startswith("✗")]
    assert "module broken_flows: ModuleNotFoundError" in wrong[0]
    assert "config conf/flow/nightly.yaml" in wrong[-1]
    assert "part" in wrong[-1]


def test_check_names_an_alert_channel_that_no_service_has(
    ratchet: Ratchet, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHAT_URL", raising=False)
    config = project / "conf" / "config.yaml"
    urls = '["json://localhost", "nonsense", "${secret:CHAT_URL}"]'
    config.write_text(f"{config.read_text()}\nalerts:\n  urls: {urls}\n")
    looked_at = shown(ratchet("check", "--json"), code=1)["findings"]
    channels = {f["what"]: f["problem"] for f in looked_at if f["what"].startswith("alerts to")}
    assert channels == {
        "alerts to json://localhost": None,
        "alerts to a URL": "this is no URL of a service that Apprise knows",
        "alerts to secret:CHAT_URL": None,
    }


def test_doctor_says_which_ray_head_is_used(ratchet: Ratchet, tmp_path: Path) -> None:
    myself = Process.of(os.getpid())
    assert myself is not None
    record = {"address": "http://127.0.0.1:8265", **asdict(myself)}
    write_json(tmp_path / "home" / "up" / "ray.json", record)
    (ray,) = [f for f in shown(ratchet("doctor", "--json")) if f["what"] == "ray"]
    assert ray["found"] == "that of `ratchet up`: http://127.0.0.1:8265"


def test_doctor_looks_at_everything(ratchet: Ratchet) -> None:
    found = shown(ratchet("doctor", "--json"))
    assert {finding["what"] for finding in found} >= {
        "python",
        "packages",
        "config",
        "secrets",
        "home",
        "state store",
        "flows",
        "workers",
        "feature store",
        "artifacts",
        "registry",
        "ray",
    }
    store = next(finding for finding in found if finding["what"] == "state store")
    assert store["found"] == "sqlite, journal wal"


def test_doctor_names_a_secret_that_is_not_set(
    ratchet: Ratchet, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RATCHET_ALERT_URL", raising=False)
    config = project / "conf" / "config.yaml"
    config.write_text(
        config.read_text().replace("  - _self_", "  - _self_\n  - override alerts: apprise")
    )
    result = ratchet("doctor")
    assert result.exit_code == 1
    assert "The secret RATCHET_ALERT_URL is not set." in result.stdout


# ---------------------------------------------------------------- features, alerts


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("shop,at,visits,open\na,2026-01-01T00:00:00,1.5,0\nb,2026-01-02T00:00:00,2,1\n")
    return path


def create(ratchet: Ratchet, csv: Path) -> Any:
    options = ["--entity", "shop", "--event-time", "at", "--label", "open"]
    return ratchet("features", "create", "shops", str(csv), *options)


def test_a_view_is_made_from_a_file_and_appended_to(ratchet: Ratchet, csv: Path) -> None:
    assert create(ratchet, csv).exit_code == 0
    csv.write_text("shop,at,visits,open\nc,2026-01-03T00:00:00,3,1\n")  # whole numbers now
    added = shown(ratchet("features", "append", "shops", str(csv), "--json"))
    assert added == {"view": "shops", "version": 2, "rows": 1}
    (view,) = shown(ratchet("features", "list", "--json"))
    assert (view["rows"], view["version"], view["features"]) == (3, 2, ["visits"])
    assert view["watermark"] == "2026-01-03T00:00:00+00:00"


def test_what_is_in_quarantine_is_shown_and_released(
    ratchet: Ratchet, csv: Path, project: Path
) -> None:
    create(ratchet, csv)
    opened = open_project(project)
    Watermarks(opened.settings.feature_store).advance("shops", "sales", 1, quarantine=(1,))
    opened.close()
    (before,) = shown(ratchet("features", "show", "shops", "--json"))["consumers"]
    assert (before["consumer"], before["version"], before["quarantine"]) == ("sales", 1, [1])
    assert "in quarantine" in ratchet("features", "show", "shops").stdout
    (after,) = shown(ratchet("features", "release", "shops", "--json"))
    assert (after["quarantine"], after["released"]) == ([], [1])
    assert ratchet("features", "release", "shops").exit_code == 2


def test_a_person_sets_versions_aside_and_resets_a_watermark_for_a_reason(
    ratchet: Ratchet, csv: Path, project: Path
) -> None:
    create(ratchet, csv)
    refused = ratchet("features", "quarantine", "shops", "--version", "1")
    assert "needs a reason" in refused.stderr
    nobody = ratchet("features", "quarantine", "shops", "--version", "1", "--reason", "wrong unit")
    assert "no model has read shops yet" in nobody.stderr
    decided = ("--consumer", "sales", "--reason", "wrong unit", "--by", "ann")
    assert ratchet("features", "quarantine", "shops", "--version", "1", *decided).exit_code == 0
    assert ratchet("features", "release", "shops", "--by", "ann").exit_code == 0
    assert ratchet("features", "quarantine", "shops", "--version", "1", *decided).exit_code == 0
    text = ratchet("features", "show", "shops").stdout
    assert "sales has read up to version 0, leaving out 1" in text
    assert "quarantine of version 1 by ann" in text
    assert "wrong unit" in text
    unknown = ratchet("features", "reset", "shops", "--version", "9", "--reason", "restored")
    assert "has no version 9; the latest is 1" in unknown.stderr
    for version in (1, 0):
        again = ("--version", str(version), "--reason", "restored", "--json")
        (mark,) = shown(ratchet("features", "reset", "shops", *again))
        assert (mark["version"], mark["quarantine"]) == (version, [1])
    assert [one["action"] for one in mark["decisions"]] == [
        "quarantine", "release", "quarantine", "reset", "reset",
    ]  # fmt: skip


def test_a_halted_run_leaves_an_alert(ratchet: Ratchet, tmp_path: Path) -> None:
    ratchet("run", "nightly")
    run = json.loads(ratchet("run", "nightly", "ending=halt", "--json").stdout)
    (line,) = (tmp_path / "home" / "alerts.jsonl").read_text().splitlines()
    alert = json.loads(line)
    assert (alert["subject"], alert["kind"]) == (run["id"], "halted")
    assert alert["reason"] == run["reason"]
    assert alert["next"] == f"ratchet show {run['id']}"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # by Apprise
def test_an_alert_that_cannot_be_delivered_is_one_warning(ratchet: Ratchet) -> None:
    result = ratchet("run", "nightly", "ending=halt", "alerts.urls=[json://127.0.0.1:9/hook]")
    assert result.exit_code == 3
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: the alert did not reach json://127.0.0.1: ")


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # by Apprise
def test_what_was_not_delivered_is_listed_and_tried_again(ratchet: Ratchet, project: Path) -> None:
    assert "no alerts" in ratchet("alerts").stdout
    ratchet("run", "nightly", "ending=halt", "alerts.urls=[json://127.0.0.1:9/hook]")
    (alert,) = shown(ratchet("alerts", "--json"))
    assert (alert["kind"], alert["status"], alert["tries"]) == ("halted", "pending", 1)
    assert [(d["channel"], d["state"]) for d in alert["deliveries"]] == [
        ("alerts.jsonl", "kept"),
        ("json://127.0.0.1", "failed"),
    ]
    listed = ratchet("alerts").stdout
    assert "nightly halted" in listed
    assert "next: ratchet alerts retry" in listed
    (again,) = shown(ratchet("alerts", "retry", "--json"))  # without the URL
    assert again["status"] == "delivered"
    assert shown(ratchet("alerts", "--status", "dead", "--json")) == []
    assert "every channel has everything" in ratchet("alerts", "retry").stdout


def test_a_test_alert_says_which_channels_took_it(ratchet: Ratchet) -> None:
    (sent,) = shown(ratchet("alerts", "test", "--json"))
    assert (sent["channel"], sent["state"], sent["problem"]) == ("alerts.jsonl", "delivered", None)
    assert "conf/alerts" in ratchet("alerts", "test").stdout

"""`make demo` ends as promised, and every surface tells the same story about it."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PLAIN_CLIENT = """
import sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
version = client.get_model_version_by_alias("digits", "champion")
run = client.get_run(version.run_id)
print(version.version, run.info.status, version.tags["ratchet.verdict"], sep="\\n")
print(*sorted(v.version for v in client.search_model_versions("name='digits'")))
"""


def told(project, *command):
    done = project.run("ratchet", *command, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_night_ends_as_it_should_and_says_why(demo):
    runs = list(reversed(told(demo, "runs")))
    assert [run["status"] for run in runs] == [
        "succeeded", "succeeded", "halted", "halted", "skipped",
    ]  # fmt: skip
    assert "worse than champion version 2" in runs[2]["reason"]
    assert "px_3_4" in runs[3]["reason"]
    assert runs[4]["reason"].startswith("no new data in digits: nothing since version 4")
    assert all(run["started"] and run["ended"] and run["flow"] == "retrain" for run in runs)


def test_nothing_was_trained_on_the_night_of_the_broken_schema(demo):
    fourth = told(demo, "runs")[1]
    tasks = {task["key"]: task["status"] for task in told(demo, "show", fourth["id"])["tasks"]}
    assert tasks["check"] == "halted"
    assert tasks["train"] == "skipped"


def test_ledger_champion_and_a_plain_mlflow_client_agree(demo):
    champion, ledger = told(demo, "champion", "digits"), told(demo, "ledger", "digits")
    uri = f"sqlite:///{demo.folder}/.ratchet/mlflow.db"
    client = demo.run("python", "-c", PLAIN_CLIENT, uri, MLFLOW_DISABLE_TELEMETRY="true")
    version, status, verdict, versions = client.stdout.splitlines()
    assert version == champion["version"] == ledger[-1]["version"] == "2"
    assert (status, verdict) == ("FINISHED", "promote")
    assert versions == "1 2 3"  # the refused one is registered too, with its verdict
    assert [entry["epoch"] for entry in ledger] == [1, 2]
    assert champion["epoch"] == 2
    assert champion["settled"]
    assert demo.run("ratchet", "ledger", "digits", "--verify").returncode == 0


def test_the_halts_left_alerts_with_the_next_command(demo):
    lines = (demo.folder / ".ratchet" / "alerts.jsonl").read_text().splitlines()
    alerts = [json.loads(line) for line in lines]
    assert [alert["kind"] for alert in alerts] == ["not_proven", "bad_data"]
    assert all("ratchet show" in alert["next"] for alert in alerts)


def test_the_demo_never_touches_a_real_project(demo, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "ratchet.db").write_text("precious")
    done = demo.run("ratchet", "--home", str(home), "demo")
    assert done.returncode == 2
    assert "holds runs of a real project" in done.stderr
    assert (home / "ratchet.db").read_text() == "precious"


def test_the_story_is_told_in_the_terminal_with_the_next_steps(demo):
    story = (demo.folder / "demo.txt").read_text()
    assert "The five nights" in story
    assert "The ledger" in story
    assert "mlflow ui --backend-store-uri" in story


def test_no_process_of_the_demo_is_left(demo):
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    left = [line for line in found.stdout.splitlines() if str(demo.folder) in line]
    assert left == []

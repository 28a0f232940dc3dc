"""What people do to live models."""

from __future__ import annotations

import json
import shutil

from mlflow import MlflowClient

from tests.field.project import Project, day


def client(project: Project) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{project.home}/mlflow.db")


def test_the_deleted_version_of_a_champion_has_one_way_out(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night().says("promote: Version 1")
    client(project).delete_model_version("churn", "1")
    assert project.append(day(2)).code == 0
    answer = project.night()
    assert answer.code == 1
    assert answer.says("ersion 1", "ratchet rollback churn")
    answer = project.ratchet("rollback", "churn", "--reason", "deleted by mistake")
    assert answer.refused
    assert answer.says("ratchet champion churn --retire")
    retire = ("champion", "churn", "--retire", "--reason", "deleted by mistake")
    assert project.ratchet(*retire).code == 0
    assert project.night("again=true").says("promote: Version")


def test_two_projects_with_one_registry_are_seen_before_training(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night().says("promote: Version 1")
    shutil.rmtree(project.table)
    (project.home / "ratchet.db").unlink()
    shutil.rmtree(project.home / "features")
    (project.home / "ledger.db").unlink()
    other = [1 - left for left in day(1)["left"].to_pylist()]
    assert project.create(day(1, left=other)).code == 0
    answer = project.night()
    assert answer.code == 1
    assert answer.says("model=")
    assert len(client(project).search_model_versions("name='churn'")) == 1


def test_a_model_that_is_not_better_alerts_otherwise_than_bad_data(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night().code == 0
    assert project.append(day(2)).code == 0
    assert project.night().code == 3
    assert project.append(day(3, visits=[1.0] + [None] * 399)).code == 0
    assert project.night().code == 3
    lines = (project.home / "alerts.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert len(set(kinds)) == 2

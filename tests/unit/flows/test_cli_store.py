"""`ratchet store`, in this process; and what always-on commands do once they are too old."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text
from typer.testing import CliRunner

from flows.cli import store as commands
from flows.cli.always_on import Asked, heeding
from flows.cli.app import app
from flows.core.errors import Outdated
from flows.core.store import Store, migrate

Ratchet = Callable[..., Any]


@pytest.fixture
def project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATCHET_HOME", str(project.parent / "home"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return project


@pytest.fixture
def store(project: Path) -> Store:
    return Store.open(f"sqlite:///{project.parent}/home/ratchet.db")


@pytest.fixture
def ratchet(project: Path) -> Ratchet:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["--project", str(project), *arguments], prog_name="ratchet")

    return run


def as_released(store: Store) -> None:
    with store.database.write() as connection:
        command.downgrade(migrate._config(connection), "0002")
        connection.execute(text(f"DROP TABLE {migrate.SCHEMA_TABLE}"))


def work(ratchet: Any, asked: Asked) -> None:
    """As `ratchet worker` does, while somebody announces an upgrade."""
    with heeding(ratchet, asked):
        migrate.announce(ratchet.service.store.database, "9999")
        assert asked.once.wait(60)


def test_a_plan_says_what_would_be_done_and_whether_older_workers_may_go_on(store, ratchet):
    as_released(store)
    store.leases.acquire("worker:w1", "w1", timedelta(minutes=1))
    said = ratchet("store", "upgrade", "--plan")
    assert said.exit_code == 0
    assert "the store is schema 0002; this Ratchet knows 0003" in said.stdout
    assert "code that knows 0002 or newer works on it" in said.stdout
    assert "workers alive: 1; they go on meanwhile" in said.stdout
    plan = json.loads(ratchet("store", "upgrade", "--plan", "--json").stdout)
    assert (plan["schema"], plan["newest"]) == ("0002", "0003")
    assert plan["workers_may_go_on"] is True
    assert json.loads(ratchet("store", "--json").stdout) == plan
    assert migrate.version_of(store.database).schema == "0002"


def test_an_upgrade_is_done_once_and_says_where_the_store_is_now(store, ratchet):
    as_released(store)
    assert "the store is at schema 0003 now" in ratchet("store", "upgrade").stdout
    assert migrate.version_of(store.database) == migrate.Version(schema="0003", needs="0002")
    assert "the store is at schema" not in ratchet("store", "upgrade").stdout


def test_a_step_that_older_workers_cannot_live_with_is_announced_and_waits_for_them(
    store, ratchet, monkeypatch
):
    as_released(store)
    step = migrate.Migration(number="0003", summary="It takes a column away.", needs="0003")
    monkeypatch.setattr(migrate, "migrations", lambda since: (step,))
    monkeypatch.setattr(commands, "LOOK", 0.01)
    lease = store.leases.acquire("worker:w1", "w1", timedelta(minutes=1))
    refused = ratchet("store", "upgrade", "--wait", "0s")
    assert refused.exit_code != 0
    assert "workers are alive still: w1" in refused.stderr
    assert migrate.version_of(store.database) == migrate.Version(schema="0002", needs="0003")
    store.leases.release(lease)
    assert "the store is at schema 0003 now" in ratchet("store", "upgrade").stdout


def test_a_process_that_is_too_old_by_now_says_so_in_one_line_drains_and_ends(
    store, capsys, monkeypatch
):
    monkeypatch.setattr("flows.cli.always_on.VERSION_LOOK", 0.01)
    ratchet = SimpleNamespace(service=SimpleNamespace(store=store))
    with Asked() as asked:
        with pytest.raises(Outdated) as caught:
            work(ratchet, asked)
        assert not asked.twice.is_set()
    (line,) = capsys.readouterr().out.splitlines()
    assert "at version 9999, and this Ratchet knows 0003; this process drains and ends" in line
    assert caught.value.hint == "upgrade ratchet-ml"


def test_nobody_too_old_can_be_started(store, ratchet):
    migrate.announce(store.database, "9999")
    said = ratchet("runs")
    assert said.exit_code != 0
    assert "this store is at version 9999" in said.stderr

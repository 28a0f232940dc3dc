"""The migrations make the schema that the code works with, and are shipped with it."""

import importlib.resources
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Engine

from registry.database import HEAD, VERSION_TABLE, open_database
from registry.ledger import Ledger, metadata


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_database(url)
    yield opened
    opened.dispose()


def newest() -> str | None:
    config = Config()
    config.set_main_option("script_location", "registry:migrations")
    return ScriptDirectory.from_config(config).get_current_head()


def test_the_newest_migration_is_known_without_alembic() -> None:
    assert newest() == HEAD


def test_migrating_from_nothing_gives_exactly_the_tables_of_the_code(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_opening_again_keeps_what_is_there(engine: Engine, url: str) -> None:
    insert = (
        "INSERT INTO ledger_entry VALUES "
        "('digits', 1, '1', NULL, 'promote', NULL, NULL, 'me', 'better', 'now', 'p', 'h', NULL)"
    )
    with engine.begin() as connection:
        connection.execute(text(insert))
    again = open_database(url)
    with again.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ledger_entry")).scalar() == 1
    again.dispose()


def test_a_ledger_of_the_first_schema_gets_a_docket_and_keeps_its_entries(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", "registry:migrations")
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO ledger_entry VALUES "
                "('digits', 1, '1', NULL, 'promote', NULL, NULL, 'me', 'better', 'now', 'p', 'h')"
            )
        )
    engine.dispose()
    again = open_database(url)
    with again.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ledger_entry")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM docket_entry")).scalar() == 0
    again.dispose()


def test_a_ledger_with_a_docket_gets_room_for_answers_and_keeps_its_nights(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", "registry:migrations")
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(
            text(
                "INSERT INTO docket_entry VALUES "
                "('digits', 1, 0, 'r', '1', 'd', '{}', '{}', 'now', 'p', 'h')"
            )
        )
    engine.dispose()
    again = open_database(url)
    with again.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM docket_entry")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM approval_answer")).scalar() == 0
    again.dispose()


def test_the_ledger_may_share_its_database_with_other_tables(url: str) -> None:
    other = create_engine(url)
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
    other.dispose()
    engine = open_database(url)
    with engine.connect() as connection:
        assert inspect(connection).has_table("ledger_entry")
        assert connection.execute(text("SELECT * FROM alembic_version")).scalar() == "theirs"
        assert connection.execute(text(f"SELECT * FROM {VERSION_TABLE}")).scalar() == newest()
    engine.dispose()


def test_sqlite_commits_to_the_disk_before_it_says_so(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_migrations_lie_in_the_package() -> None:
    folder = importlib.resources.files("registry") / "migrations"
    assert (folder / "env.py").is_file()
    for name in ("0001_ledger.py", "0002_docket.py", "0003_approval.py"):
        assert (folder / "versions" / name).is_file()


def open_and_count(url: str, start: Any) -> None:
    start.wait()
    engine = open_database(url)
    assert Ledger(engine).models() == ()
    engine.dispose()


@pytest.mark.slow
def test_processes_that_meet_a_new_database_at_once_all_succeed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    url = f"sqlite:///{tmp_path}/new.db"
    workers = [context.Process(target=open_and_count, args=(url, start)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]

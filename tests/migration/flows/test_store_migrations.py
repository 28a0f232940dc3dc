"""The migrations make exactly the tables that the code speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from flows.core.errors import StoreError
from flows.core.store import Store
from flows.core.store import migrate as migrate
from flows.core.store.migrate import HEAD, SCHEMA_TABLE, VERSION_TABLE
from flows.core.store.schema import metadata


@pytest.fixture
def store(tmp_path):
    opened = Store.open(f"sqlite:///{tmp_path}/ratchet.db")
    yield opened
    opened.close()


def test_the_newest_script_is_the_one_that_the_code_expects():
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based")
@pytest.mark.filterwarnings("ignore:autogenerate skipping")
def test_a_migrated_store_has_the_tables_of_the_schema(store):
    with store.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": SCHEMA_TABLE})
        differences = compare_metadata(context, metadata)
    tables = {d[1].name for d in differences if d[0] == "remove_table"}
    assert tables == {VERSION_TABLE}
    assert [d for d in differences if d[0] not in ("remove_index", "remove_table")] == []


def test_a_store_of_a_newer_ratchet_is_refused_and_left_alone(tmp_path):
    url = f"sqlite:///{tmp_path}/ratchet.db"
    opened = Store.open(url)
    with opened.database.write() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    opened.close()
    with pytest.raises(StoreError, match="this store is at version 9999") as caught:
        Store.open(url)
    assert caught.value.hint == "upgrade ratchet-ml"


def test_a_store_of_the_release_before_is_upgraded_as_a_file_is_opened_and_older_code_may_go_on(
    tmp_path, caplog
):
    url = f"sqlite:///{tmp_path}/ratchet.db"
    make_as_released(url)
    opened = Store.open(url)
    assert migrate.version_of(opened.database) == migrate.Version(schema=HEAD, needs="0002")
    opened.close()
    assert "upgraded from schema 0002 to 0003; workers that know 0002 may go on" in caplog.text


def make_as_released(url: str) -> None:
    """A store as the release before made it: its version stands in one table."""
    opened = Store.open(url)
    with opened.database.write() as connection:
        command.downgrade(migrate._config(connection), "0002")
        connection.execute(text(f"DROP TABLE {SCHEMA_TABLE}"))
    opened.close()

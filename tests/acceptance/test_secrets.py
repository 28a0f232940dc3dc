"""Whatever a run does and however it ends, no secret is left behind where somebody may read it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine, make_url

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
SECRETS = {
    "PG_PASSWORD": "of-the-store-7f3a",
    "ALERTS_PASSWORD": "of-the-alerts-91bc",
    "HOOK_SECRET": "of-the-hook-2d4e",
    "FEATURES_KEY": "of-the-features-5c6d",
}
CONFIG = """
defaults: [ratchet, _self_]
flows: [speaking]
executor: processes
store: {{url: "{store}"}}
registry: {{ledger_url: "{store}"}}
alerts: {{urls: ["json://me:${{secret:ALERTS_PASSWORD}}@127.0.0.1:9/hook"]}}
api: {{webhook_secret: "${{secret:HOOK_SECRET}}"}}
"""
FLOW = """
import logging, sys
from flows import flow, task
from flows.core.context import current
from flows.core.clock import SystemClock
from flows.settings import Settings
import registry

@task
def works() -> str:
    context = current()
    settings = Settings.of(context.config)
    assert "of-the-store" in settings.registry.ledger_url
    with registry.connect(settings.registry) as models:
        models.tracking.open_run(
            context.run_id, "speaks", config_yaml=context.config_yaml,
            config_digest=context.config_digest, link="http://here",
        )
        models.tracking.log_params(models.tracking.open_run(
            context.run_id, "speaks", config_yaml=context.config_yaml,
            config_digest=context.config_digest, link="http://here",
        ).mlflow_run_id, {"config": context.config_yaml[:200]})
    return "fine"

@task
def fails(said: str) -> None:
    url = Settings.of(current().config).registry.ledger_url
    raise ConnectionError(f"cannot reach {url}")

@flow
def speaks() -> None:
    fails(works())
"""


@pytest.fixture
def project(tmp_path: Path, new_postgres: Any) -> Path:
    url = make_url(new_postgres()).set(password="PASSWORD")
    shown = url.render_as_string(hide_password=False)
    store = shown.replace("PASSWORD", "${secret:PG_PASSWORD}")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG.format(store=store))
    (tmp_path / "speaking.py").write_text(FLOW)
    (tmp_path / "url").write_text(shown)
    return tmp_path


def type_in(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RATCHET_", "RAY_"))}
    return subprocess.run(
        command,
        cwd=project,
        env={**clean, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **SECRETS},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def left_behind(project: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the home, and every row of the state store."""
    for file in sorted((project / ".ratchet").rglob("*")):
        if file.is_file():
            yield str(file), file.read_bytes()
    engine = create_engine((project / "url").read_text())
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            for row in connection.execute(table.select()):
                yield table.name, repr(tuple(row)).encode()
    engine.dispose()


def test_no_secret_is_left_in_the_home_the_store_or_what_was_printed(project: Path) -> None:
    done = type_in(project, "ratchet", "--debug", "run", "speaks")
    assert done.returncode == 1, done.stdout + done.stderr
    printed = [
        type_in(project, "ratchet", *command.split())
        for command in ("show last --json", "logs last", "alerts --json")
    ]
    said = [("printed", (each.stdout + each.stderr).encode()) for each in (done, *printed)]
    places = [*left_behind(project), *said]
    assert {"run", "event", "definition"} <= {where for where, _ in places}
    assert any("mlflow.db" in where for where, _ in places)
    found = {
        (name, where)
        for where, content in places
        for name, secret in SECRETS.items()
        if secret.encode() in content
    }
    assert found == set()

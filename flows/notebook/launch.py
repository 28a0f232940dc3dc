"""`Flow.start`: from a cell or a script to a run that is under way."""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from flows.bootstrap import open_project
from flows.config.sources import Stamp, config_path
from flows.core.errors import ConfigError, Refused
from flows.core.flow import Flow
from flows.notebook.driver import Driver
from flows.notebook.handle import RunHandle
from flows.settings import ExecutorName
from flows.wording import whoami

LEAVING_SECONDS = 10.0
"""How long the end of the session waits for what it started to be gone."""
_ELSEWHERE = (ExecutorName.PROCESSES, ExecutorName.RAY)


def launch(
    flow: Flow,
    *overrides: str,
    project: str | Path | None = None,
    executor: str | None = None,
    key: str | None = None,
    show: bool = True,
    **config: Any,
) -> RunHandle:
    """Start a run of `flow`, drive it beside the cells, and return at once.

    Args:
        overrides: as on the command line, `"trainer=xgboost"`, `"gate.min_effect=0.01"`.
        project: folder of the team's conf/ and modules; default: the current one.
        executor: where tasks run that do not say: inline, threads, processes or ray. Default:
            the project's setting; threads for a flow that is defined in the notebook itself.
        key: what makes the run unique in its flow; the same key gives the same run again.
        show: show the progress here.
        config: overrides as keywords, `model="digits"`, `gate={"min_effect": 0.01}`.

    Raises:
        ConfigError: an override does not fit the flow's config, or the project's is wrong.
        Refused: a task cannot run where it is asked to.
        StoreError: the state store cannot be opened or written.
    """
    folder = Path(project or Path.cwd()).resolve()
    driver = _driver(
        str(folder),
        os.environ.get("RATCHET_HOME"),
        chosen_executor(flow, executor),
        config_path(folder).stamp(),
    )
    run = driver.start(
        flow,
        [*overrides, *as_overrides(config)],
        trigger={"kind": "notebook", "by": whoami()},
        key=key,
    )
    handle = RunHandle(run.id, flow, driver)
    if show:
        handle.show()
    return handle


def chosen_executor(flow: Flow, asked: str | None) -> str | None:
    """Where tasks run that do not say. Raises Refused when a task could not run there."""
    if asked is not None and asked not in list(ExecutorName):
        raise Refused(
            f"there is no executor {asked!r}", hint=f"one of {', '.join(map(str, ExecutorName))}"
        )
    if not flow.source.startswith("__main__:"):
        return asked
    chosen = asked or ExecutorName.THREADS.value
    for node in flow.graph.nodes:
        executor = node.executor or chosen
        if executor in _ELSEWHERE and node.function.startswith("__main__:"):
            asks = " (as its timeout asks for)" if node.timeout and not asked else ""
            raise Refused(
                f"task {node.key} is defined in this session, so it cannot run in {executor}{asks}",
                hint="move it to a module, or use executor='threads'",
            )
    return chosen


@cache
def _driver(project: str, home: str | None, executor: str | None, _conf: Stamp) -> Driver:
    """One driver a project and executor for the whole session, so that its workers stay warm.

    `home` tells apart what the environment variable RATCHET_HOME makes of the project; another
    one begins when a config file has changed, and what runs goes on with the one before.
    """
    driver = Driver(open_project(Path(project)), executor)
    atexit.register(_leave, driver)
    return driver


def _leave(driver: Driver) -> None:
    for run_id in driver.close(LEAVING_SECONDS):
        sys.stderr.write(
            f"run {run_id} is unfinished, and goes on with: ratchet retry {run_id}\n"
            "(run.wait() keeps a script alive until its run has ended)\n"
        )


# ---------------------------------------------------------------------- overrides

_BARE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
_KEYWORD = re.compile(r"true|false|yes|no|on|off|null|none|nan|inf", re.IGNORECASE)


def as_overrides(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`model="digits", gate={"min_effect": 0.01}` as `model=digits`, `gate.min_effect=0.01`.

    Raises ConfigError for a value that no config file could hold.
    """
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from as_overrides(value, f"{key}.")
        else:
            yield f"{key}={_written(key, value)}"


def _written(key: str, value: Any) -> str:
    """A value as Hydra's grammar reads it back."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, str | Path):
        return _quoted(str(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(_written(key, item) for item in value)}]"
    raise ConfigError(
        f"{key}={value!r} is a {type(value).__name__}, which a config cannot hold",
        hint="give text, numbers, booleans, durations, and lists or dictionaries of these",
    )


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text) and not _KEYWORD.fullmatch(text):
        return text
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", text)  # Hydra: backslashes count before a quote only
    trailing = len(quoted) - len(quoted.rstrip("\\"))
    return f"'{quoted}{chr(92) * trailing}'"

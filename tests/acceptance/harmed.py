"""Three nights, the second champion harmful: `python -m tests.acceptance.harmed FOLDER`.

In a process of its own: a Ray keeps what an earlier one of its process was started with. What the
nights came to is written to FOLDER/nights.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import feature_store
import registry
from flows.bootstrap import Ratchet, open_project
from flows.core.alert import AlertKind
from flows.core.records import Run
from flows.demo import MODEL, OVERRIDES, VIEW, _digits, _table
from flows.retrain import retrain
from flows.settings import revealed
from registry import Decision

PROJECT = Path(__file__).parents[2]
# In every process that is started from here: the first rollback is the last thing that it does.
KILLED = """
import os, signal
from pathlib import Path

import flows.retrain as loop

rolled_back, marker = loop._rolled_back, Path({marker!r})

def killed(found):
    done = rolled_back(found)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return done

loop._rolled_back = killed
"""


def spend(ratchet: Ratchet, number: int, first: int, last: int, *overrides: str) -> Run:
    """A night: the images from `first` to `last` arrive, and the flow runs."""
    images, labels = _digits()
    store = feature_store.connect(revealed(ratchet.settings.feature_store))
    store.append(VIEW.name, _table(np.arange(first, last), images, labels, number))
    chosen = (*OVERRIDES, *overrides)
    run = ratchet.start(retrain, chosen, trigger={"kind": "test"}, key=f"night-{number}")
    with ratchet.engine() as engine:
        engine.run_until_ended([run.id])
    return ratchet.service.find(run.id)


def main(folder: Path) -> None:
    """Spend the nights; the process that rolls back is killed right after."""
    marker, home = folder / "killed", folder / "home"
    (folder / "sitecustomize.py").write_text(KILLED.format(marker=str(marker)))
    ratchet = open_project(PROJECT, [f"home={home}"])
    feature_store.connect(revealed(ratchet.settings.feature_store)).create(VIEW)
    spend(ratchet, 1, 0, 600)
    held = spend(ratchet, 2, 600, 1100, "trainer.params.C=1e-9")  # it says always the same
    with registry.connect(revealed(ratchet.settings.registry)) as models:
        night = models.docket(MODEL)
        assert night is not None
        assert night.run_id == held.id
        forced = replace(night.verdict, decision=Decision.PROMOTE, promote=True, budget_left=None)
        models.promote(forced, actor="test", now=datetime.now(UTC))

    sys.path.insert(0, str(folder))  # where the worker processes import from, too
    run = spend(ratchet, 3, 1100, 1700)
    tasks = {task.key: task for task in ratchet.service.show(run.id).tasks}
    with registry.connect(revealed(ratchet.settings.registry)) as models:
        entries, night, broken = models.entries(MODEL), models.docket(MODEL), models.verify(MODEL)
    assert night is not None
    told = [record.alert for record in ratchet.service.store.outbox.list()]
    came_to = {
        "run": run.id,
        "killed": marker.exists(),
        "settle": [tasks["settle"].attempt, tasks["settle"].value],
        "entries": [[entry.action.value, entry.version, entry.run_id] for entry in entries],
        "whole": broken is None,
        "judged against": [night.verdict.champion, night.verdict.epoch],
        "harm told": [a.subject for a in told if a.kind is AlertKind.CHAMPION_HARMFUL],
    }
    ratchet.close()
    (folder / "nights.json").write_text(json.dumps(came_to))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

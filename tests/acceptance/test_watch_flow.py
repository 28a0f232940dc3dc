"""A champion that turns out harmful is rolled back by the next night's run, once, also when the
process that did it is killed right after."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import feature_store
import registry
from flows.bootstrap import Ratchet, open_project
from flows.core.alert import AlertKind
from flows.core.records import Run
from flows.demo import MODEL, OVERRIDES, VIEW, _digits, _table
from flows.retrain import retrain
from flows.settings import revealed
from registry import Decision

pytestmark = [pytest.mark.ray, pytest.mark.slow]

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


def test_the_next_night_rolls_a_harmful_champion_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, home = tmp_path / "killed", tmp_path / "home"
    (tmp_path / "sitecustomize.py").write_text(KILLED.format(marker=str(marker)))
    ratchet = open_project(PROJECT, [f"home={home}"])
    feature_store.connect(revealed(ratchet.settings.feature_store)).create(VIEW)
    spend(ratchet, 1, 0, 600)
    held = spend(ratchet, 2, 600, 1100, "trainer.params.C=1e-9")  # it says always the same
    with registry.connect(revealed(ratchet.settings.registry)) as models:
        night = models.docket(MODEL)
        assert night is not None
        assert night.run_id == held.id
        forced = replace(night.verdict, decision=Decision.PROMOTE, promote=True)
        models.promote(forced, actor="test", now=datetime.now(UTC))

    monkeypatch.syspath_prepend(tmp_path)  # where the worker processes import from, too
    run = spend(ratchet, 3, 1100, 1700)
    assert marker.exists()
    tasks = {task.key: task for task in ratchet.service.show(run.id).tasks}
    assert tasks["settle"].attempt == 2
    assert tasks["settle"].value is not None
    assert "Version 1 is live again." in tasks["settle"].value
    with registry.connect(revealed(ratchet.settings.registry)) as models:
        entries = models.entries(MODEL)
        assert [(e.action.value, e.version) for e in entries][:3] == [
            ("promote", "1"),
            ("promote", "2"),
            ("rollback", "1"),
        ]
        assert entries[2].run_id == run.id
        assert models.verify(MODEL) is None
        # The challenger of the same night was held against the champion that is live again.
        verdict = models.docket(MODEL)
        assert verdict is not None
        assert (verdict.verdict.champion, verdict.verdict.epoch) == ("1", 3)
    told = [letter.alert for letter in ratchet.service.store.outbox.list()]
    harm = [alert for alert in told if alert.kind is AlertKind.CHAMPION_HARMFUL]
    assert [alert.subject for alert in harm] == [run.id]
    ratchet.close()

"""The whole training loop, beside a script by hand that makes the same outside calls.

Measured is the demo's second night: there is a champion, 900 images arrive, the challenger is
better and is promoted. Each round has a view and a model of its own in one installation whose
Ray, worker processes and MLflow are warm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

import feature_store
from benchmarks import by_hand
from benchmarks.measure import Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind
from feature_store import FeatureStore
from flows.bootstrap import Ratchet, open_project
from flows.core.engine import Engine
from flows.core.records import RunStatus
from flows.demo import OVERRIDES, VIEW, nights
from flows.retrain import retrain
from flows.settings import revealed

AIM = Aim(kind=Kind.RATIO_AT_MOST, bound=1.05)
FIRST, SECOND = nights()[:2]


def figures(setting: Setting) -> Iterator[Figure]:
    """Seconds from the start of the second night to its promotion."""
    home = str(setting.folder / "home")
    with ExitStack() as stack:
        ratchet = open_project(setting.folder, [f"home={home}"])
        stack.callback(ratchet.close)
        engine = stack.enter_context(ratchet.engine())
        store = feature_store.connect(revealed(ratchet.settings.feature_store))
        numbers = count()

        def own() -> float:
            return _own(ratchet, engine, store, f"digits_{next(numbers)}")

        def hand() -> float:
            return _by_hand(setting, store, f"digits_{next(numbers)}")

        samples = side_by_side(
            {"own": own, "hand": hand}, repeats=setting.of(9, 1), warm_up=setting.of(2, 1)
        )
    yield Figure(
        name="the training loop, promoted",
        unit="s",
        own=samples["own"],
        beside={"by hand": samples["hand"]},
        aim=AIM,
    )


def _own(ratchet: Ratchet, engine: Engine, store: FeatureStore, view: str) -> float:
    home = f"home={ratchet.home}"
    overrides = [*OVERRIDES, home, f"features.view={view}"]

    def night() -> None:
        run = ratchet.start(retrain, overrides, trigger={"kind": "benchmark"})
        engine.run_until_ended([run.id])
        ended = ratchet.service.find(run.id)
        assert ended.status is RunStatus.SUCCEEDED, ended.reason

    _arrive(store, view, 1)
    night()
    _arrive(store, view, 2)
    return seconds(night)


def _by_hand(setting: Setting, store: FeatureStore, view: str) -> float:
    folder = setting.folder / "by-hand"
    folder.mkdir(exist_ok=True)
    place = by_hand.Place(
        table=str(setting.folder / "home" / "features" / view),
        parts=str(folder / "parts" / view),
        tracking=f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "artifacts"),
        model=view,
        columns=tuple(VIEW.features),
        label=VIEW.label or "",
        time=VIEW.event_time,
    )
    _arrive(store, view, 1)
    _, known = by_hand.retrain(place)

    def night() -> None:
        promoted, _ = by_hand.retrain(place, known)
        assert promoted

    _arrive(store, view, 2)
    return seconds(night)


def _arrive(store: FeatureStore, view: str, night: int) -> None:
    """A night's images, in a view of this round's own."""
    if night == 1:
        store.create(replace(VIEW, name=view))
    batch = (FIRST if night == 1 else SECOND).batch
    assert batch is not None
    store.append(view, batch())

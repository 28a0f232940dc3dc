"""The registry as people read it: what was decided, and why; nothing here changes anything.

It opens the ledger, and asks MLflow without importing it where that can be had.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Self

from sqlalchemy.engine import Engine

from registry.answers import Answer, AnswerKind, AnswerStore
from registry.approvals import ApprovalRequest, Requests
from registry.card.card import Card
from registry.card.gather import gathered
from registry.card.model_evidence import ModelEvidence
from registry.champion import ChampionStatus, refuse_outsider, same_files, status_seen
from registry.config import RegistryConfig
from registry.database import open_database
from registry.history import History
from registry.ledger import Ledger, LedgerBreak, LedgerEntry
from registry.locks import sqlite_path
from registry.mlflow_seam import MlflowSeam
from registry.nights.docket_store import DocketStore, NightEntry
from registry.succession import set_aside
from registry.tie import Tie, refuse_tied_elsewhere
from registry.verdict import Verdict
from registry.watch_store import SeenWatches, WatchStore


class Reader:
    """Which model is live, why, and everything that led there."""

    def __init__(self, config: RegistryConfig) -> None:
        self.config = config
        self._seam = MlflowSeam(config)
        self._opening = threading.RLock()

    def champion_seen(self, model: str) -> ChampionStatus:
        """The same for people to read: MLflow is asked without its client where that can be."""
        return status_seen(model, self._ledger, self._seam.look)

    def knows(self, model: str) -> bool:
        """Whether the model has a history or is registered."""
        if model in self.ledger_models():
            return True
        path = sqlite_path(self.config.tracking_uri)
        return (path is None or path.exists()) and self._seam.look(model) is not None

    def nights_of(self, run_id: str) -> tuple[NightEntry, ...]:
        """What the gate decided in a run; empty when it was not asked."""
        return self._dockets.of_run_id(run_id)

    def waiting(self, model: str | None = None, *, now: datetime) -> tuple[ApprovalRequest, ...]:
        """The verdicts that wait for approval, of one model or of all."""
        return self._requests.waiting(model, now=now)

    def answers(self, model: str) -> tuple[Answer, ...]:
        """What people answered to verdicts about a model, oldest first."""
        return self._requests.answers(model)

    def refused(self, model: str) -> Mapping[str, str]:
        """The versions that are not proposed, and why: rejected, or rolled back from."""
        said = self._requests.answers(model)
        rejected = {
            one.version: "was rejected by a person"
            for one in said
            if one.answer is AnswerKind.REJECT
        }
        aside = dict.fromkeys(self.set_aside(model), "was rolled back from, and not released since")
        return {**aside, **rejected}

    def set_aside(self, model: str) -> Mapping[str, LedgerEntry]:
        """The versions that were rolled back from and not released, by the entry of their reign.

        One of a model that was made anew, which has the number of such a one, is none.
        """
        found = set_aside(self._ledger.entries(model), self._requests.answers(model))
        return {one: reign for one, reign in found.items() if self._is_still_there(reign)}

    def _is_still_there(self, reign: LedgerEntry) -> bool:
        """Whether the number may still name the files that it named then."""
        seen = self._seam.look(reign.model, reign.version)
        return seen is None or same_files(reign.digest, seen.digests.get(reign.version))

    def entries(self, model: str) -> tuple[LedgerEntry, ...]:
        """The model's history, oldest first."""
        return self._ledger.entries(model)

    def ledger_models(self) -> tuple[str, ...]:
        """The names of all models that have a history."""
        return self._ledger.models()

    def verify(self, model: str) -> LedgerBreak | None:
        """The first entry that was altered or removed; None: the history fits together."""
        return (
            self._ledger.verify(model)
            or self._dockets.verify(model)
            or self._requests.verify(model)
            or self.watches.verify(model)
            or self._history.lost(model, self._seam.look)
            or self._history.unproven(model)
        )

    def ready(self, model: str, tie: Tie | None = None) -> bool:
        """Whether the next night may train; False: a change of the champion is to be completed.

        Raises what would be found out after the training: TiedElsewhere, LedgerBroken,
        OutsiderChange. Asks MLflow without its client where that can be.
        """
        path = sqlite_path(self.config.tracking_uri)
        if path is not None and not path.exists() and model not in self.ledger_models():
            return True
        registered = self._seam.look(model)
        if tie is not None and registered is not None:
            refuse_tied_elsewhere(model, registered.tags, tie)
        self.check(model)
        status = self.champion_seen(model)
        refuse_outsider(status)
        return status.settled

    def check(self, model: str) -> None:
        """Raise LedgerBroken when the history lacks what MLflow remembers of its ends."""
        self._history.check(model, self._seam.look)

    def evidence(self, model: str, *, now: datetime) -> ModelEvidence:
        """Which challengers are compared, how far they are, and what waits; shows itself."""
        night = self._dockets.head(model)
        return ModelEvidence(
            model=model,
            night=night,
            history=()
            if night is None
            else self._dockets.past_nights(model, night.epoch, until=night.night),
            waiting=self.waiting(model, now=now),
            watched=self.watches.latest(model),
        )

    def docket(self, model: str) -> NightEntry | None:
        """The latest night of the gate: open comparisons and the error budget; None before it."""
        return self._dockets.head(model)

    def card_of(self, verdict: Verdict) -> Card:
        """The verdict and what the ledger knows of what it rests on."""
        entries = self._ledger.entries(verdict.model)
        return gathered(verdict, dockets=self._dockets, entries=entries, models=None)

    def close(self) -> None:
        """Let go of the ledger's database."""
        with self._opening:
            if "_engine" in vars(self):
                self._engine.dispose()
                for name in tuple(vars(self)):
                    if isinstance(getattr(type(self), name, None), cached_property):
                        del vars(self)[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _engine(self) -> Engine:
        with self._opening:
            return open_database(self.config.ledger_url)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._engine)

    @cached_property
    def _dockets(self) -> DocketStore:
        return DocketStore(self._engine)

    @cached_property
    def _history(self) -> History:
        return History(
            self._engine, self._seam, self._ledger, self._dockets, self.config.ledger_url
        )

    @cached_property
    def _requests(self) -> Requests:
        return Requests(self._ledger, self._dockets, AnswerStore(self._engine))

    @cached_property
    def watches(self) -> SeenWatches:
        """The watch over new champions: `latest`."""
        return SeenWatches(self._ledger, WatchStore(self._engine))

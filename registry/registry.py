"""The registry as flows and Ray jobs see it: one object over MLflow, the ledger and the export."""

import json
import tempfile
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from sqlalchemy.engine import Engine

from registry.answers import Answer, AnswerKind, AnswerStore
from registry.approvals import ApprovalRequest, Approvals
from registry.card.card import Card
from registry.card.cards import Cards
from registry.card.model_evidence import ModelEvidence
from registry.champion import Alias, ChampionStatus, status_seen
from registry.config import RegistryConfig
from registry.database import open_database
from registry.errors import (
    ChampionUnloadable,
    ModelUnloadable,
    PromotionRefused,
    UnknownModel,
    UnsupportedModel,
)
from registry.export import export_champion
from registry.fitted import FittedModel
from registry.history import DOCKET, WATCH, History
from registry.ledger import Ledger, LedgerBreak, LedgerEntry
from registry.loaded import LoadedModel
from registry.locks import sqlite_path
from registry.methods.comparison import Comparison
from registry.mlflow_seam import MlflowSeam
from registry.models import Models, ModelVersion
from registry.nights.docket import Docket
from registry.nights.docket_store import DocketStore, NightEntry, NightTaken
from registry.promotion import Promotions
from registry.tracking import Tracking
from registry.verdict import Verdict, verdict_json, verdict_tags
from registry.watch_store import WatchStore
from registry.watches import Watches


def connect(config: RegistryConfig) -> "Registry":
    """A registry that opens MLflow and the ledger when they are first needed."""
    return Registry(config)


class Registry:
    """Which model is live, why, and everything that led there."""

    def __init__(self, config: RegistryConfig) -> None:
        self.config = config
        seam = self._seam = MlflowSeam(config)
        self.tracking = Tracking(seam)
        """Runs in MLflow: `open_run`, `log_metrics`, `log_params`, ..., `end_run`."""
        self.models = Models(seam)
        """Registered versions: `register`, `version`, `versions`, `load`."""
        self._alias = Alias(seam)
        self._opening = threading.RLock()

    def champion(self, model: str) -> ChampionStatus:
        """Who is live, by ledger and alias; changes nothing."""
        return self._promotions.champion(model)

    def champion_seen(self, model: str) -> ChampionStatus:
        """The same for people to read: MLflow is asked without its client where that can be."""
        return status_seen(model, self._ledger, self._seam.look)

    def knows(self, model: str) -> bool:
        """Whether the model has a history or is registered."""
        if model in self.ledger_models():
            return True
        path = sqlite_path(self.config.tracking_uri)
        return (path is None or path.exists()) and self._seam.look(model) is not None

    def load_champion(self, model: str, *, modules: tuple[str, ...] = ()) -> LoadedModel | None:
        """The live model in memory; None before the first promotion.

        Raises ChampionUnloadable when its files are missing, altered, or of other versions.
        """
        version = self.champion(model).version
        if version is None:
            return None
        try:
            return self.models.load(model, version, modules=modules)
        except (ModelUnloadable, UnknownModel, UnsupportedModel) as error:
            raise ChampionUnloadable(
                f"The champion of {model} cannot be loaded, so nothing can be compared with it. "
                f"{error}",
                hint=error.hint,
            ) from error

    def record_verdict(self, verdict: Verdict, comparison: Comparison | None = None) -> None:
        """Write a verdict where reviewers look: the version's tags, the run's figures and plots."""
        tags = verdict_tags(verdict)
        self.models.set_tags(verdict.model, verdict.challenger, tags)
        if verdict.mlflow_run_id:
            self.tracking.log_tags(verdict.mlflow_run_id, tags)
            shown = json.loads(verdict_json(verdict))
            self.tracking.log_dict(verdict.mlflow_run_id, shown, "verdict.json")
            self._cards.keep(verdict, comparison)

    def card(self, verdict: Verdict, *, mlflow: bool = True) -> Card:
        """The verdict and everything that it rests on; `mlflow` false: what the ledger knows."""
        return self._cards.of(verdict, mlflow=mlflow)

    def kept_card(self, verdict: Verdict) -> str | None:
        """The card's page as it was written to MLflow on its night; None when it was not."""
        return self._cards.kept(verdict)

    def nights_of(self, run_id: str) -> tuple[NightEntry, ...]:
        """What the gate decided in a run; empty when it was not asked."""
        return self._dockets.of_run_id(run_id)

    def promote(self, verdict: Verdict, *, actor: str, now: datetime) -> LedgerEntry:
        """Make the verdict's challenger champion if the epoch is still the verdict's; export it.

        Repeated by the same run, it converges to the same entry. Raises StaleEpoch,
        OutsiderChange, PromotionRefused, LedgerBroken, UnknownModel, ExportFailed.
        """
        if verdict.challenger in self.rejected(verdict.model):
            raise PromotionRefused(
                f"Version {verdict.challenger} of {verdict.model} was rejected by a person.",
                hint=f"ratchet ledger {verdict.model}",
            )
        entry = self._promotions.promote(verdict, actor=actor, now=now)
        shown = self.models.version(verdict.model, verdict.challenger).tags
        missing = {k: v for k, v in verdict_tags(verdict).items() if shown.get(k) != v}
        self.models.set_tags(verdict.model, verdict.challenger, missing)  # most often none
        self.export(verdict.model)
        return entry

    def waiting(self, model: str | None = None, *, now: datetime) -> tuple[ApprovalRequest, ...]:
        """The verdicts that wait for approval, of one model or of all."""
        return self._approvals.waiting(model, now=now)

    def answers(self, model: str) -> tuple[Answer, ...]:
        """What people answered to verdicts about a model, oldest first."""
        return self._approvals.answers(model)

    def rejected(self, model: str) -> frozenset[str]:
        """The versions that a person rejected: they are never proposed again."""
        said = self._approvals.answers(model)
        return frozenset(one.version for one in said if one.answer is AnswerKind.REJECT)

    def approve(
        self, model: str, version: str | None = None, *, actor: str, reason: str, now: datetime
    ) -> LedgerEntry:
        """Make a version that waits for approval champion (none: the only one), and export it.

        Repeated by the same person, it converges to the same entry. Raises NothingWaits,
        ApprovalExpired, AlreadyAnswered, and what `promote` raises.
        """
        request, answer, entry = self._approvals.approve(
            model, version, actor=actor, reason=reason, now=now
        )
        self._tag_answer(request, answer)
        self.export(model)
        return entry

    def reject(
        self, model: str, version: str | None = None, *, actor: str, reason: str, now: datetime
    ) -> Answer:
        """Refuse a version that waits for approval; it is never proposed again.

        Repeated by the same person, it converges to the same answer. Raises NothingWaits,
        ApprovalExpired, AlreadyAnswered, StaleEpoch.
        """
        request, answer = self._approvals.reject(
            model, version, actor=actor, reason=reason, now=now
        )
        self._tag_answer(request, answer)
        return answer

    def rollback(
        self,
        model: str,
        to_version: str | None = None,
        *,
        actor: str,
        reason: str,
        now: datetime,
        expected_epoch: int | None = None,
        run_id: str | None = None,
    ) -> LedgerEntry:
        """Make the champion before, or `to_version`, live again: one more entry; export it."""
        entry = self._promotions.rollback(
            model,
            to_version,
            actor=actor,
            reason=reason,
            now=now,
            expected_epoch=expected_epoch,
            run_id=run_id,
        )
        self.export(model)
        return entry

    def adopt(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Acknowledge what is there: an outsider's champion, or a history that was cut off."""
        entry = self._promotions.adopt(model, actor=actor, reason=reason, now=now)
        self.export(model)
        return entry

    def restore(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Undo an outsider's change of the champion."""
        return self._promotions.restore(model, actor=actor, reason=reason, now=now)

    def reconcile(self, models: Iterable[str] = (), *, now: datetime) -> tuple[ChampionStatus, ...]:
        """Complete what a crash left pending, for these models or all; outsiders are reported."""
        return self._promotions.reconcile(models, now=now)

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
            or self._approvals.verify(model)
            or self.watches.verify(model)
            or self._history.lost(model, self._seam.look)
            or self._history.unproven(model)
        )

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

    def before_night(
        self, model: str, run_id: str, challenger: str
    ) -> tuple[int, Docket, NightEntry | None]:
        """What this run judges by: nights so far, their docket, and its own entry if it made one.

        A run that is repeated gets the docket that it had the first time.
        """
        made = self._dockets.of_run(model, run_id, challenger)
        head = self._dockets.head(model)
        before = head if made is None else self._dockets.night(model, made.night - 1)
        return (0, Docket(), made) if before is None else (before.night, before.docket, made)

    def keep_night(
        self,
        docket: Docket,
        verdict: Verdict,
        *,
        challenger: str,
        dataset: str,
        expected: int,
        now: datetime,
    ) -> bool:
        """Append a night; False when another run judged meanwhile: judge again."""
        try:
            self._dockets.append(
                docket, verdict, challenger=challenger, dataset=dataset, expected=expected, now=now
            )
        except NightTaken:
            return False
        self._history.remember(verdict.model, DOCKET)
        return True

    def export(self, model: str) -> str | None:
        """Copy the champion's files to `export_uri`; the version's URI, None without an export."""
        entries = self._ledger.entries(model)
        if self.config.export_uri is None or not entries:
            return None
        with tempfile.TemporaryDirectory(prefix="ratchet-export-") as folder:
            files = self.models.download(model, entries[-1].version, Path(folder))
            return export_champion(self.config.export_uri, entries[-1], files)

    def register(
        self,
        name: str,
        fitted: FittedModel,
        *,
        mlflow_run_id: str,
        key: str,
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Store a fitted model as the next version of `name`; idempotent by `key`."""
        return self.models.register(name, fitted, mlflow_run_id=mlflow_run_id, key=key, tags=tags)

    def load(self, name: str, version: str, *, modules: tuple[str, ...] = ()) -> LoadedModel:
        """One version in memory."""
        return self.models.load(name, version, modules=modules)

    def close(self) -> None:
        """Let go of the ledger's database."""
        with self._opening:
            if "_engine" in vars(self):
                self._engine.dispose()
                for name, kind in vars(Registry).items():
                    if isinstance(kind, cached_property):
                        vars(self).pop(name, None)

    def __enter__(self) -> "Registry":
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
    def watches(self) -> Watches:
        """The watch over new champions: `watching`, `latest`, `before_night`, `keep`."""
        return Watches(
            self._ledger,
            self._dockets,
            WatchStore(self._engine),
            kept=lambda model: self._history.remember(model, WATCH),
        )

    @cached_property
    def _dockets(self) -> DocketStore:
        return DocketStore(self._engine)

    @cached_property
    def _history(self) -> History:
        return History(
            self._engine, self._seam, self._ledger, self._dockets, self.config.ledger_url
        )

    @cached_property
    def _cards(self) -> Cards:
        return Cards(self.tracking, self.models, self._dockets, self._ledger)

    @cached_property
    def _promotions(self) -> Promotions:
        return Promotions(
            self._ledger, self._history, self._alias, self.models, self.config.ledger_url
        )

    @cached_property
    def _approvals(self) -> Approvals:
        return Approvals(
            self._ledger,
            self._history,
            self._dockets,
            AnswerStore(self._engine),
            self._promotions,
            self.models,
            self.config.ledger_url,
        )

    def _tag_answer(self, request: ApprovalRequest, answer: Answer) -> None:
        """Show an answer where reviewers look: at the version, and at the run that asked."""
        tags = {
            "ratchet.answer": answer.answer.value,
            "ratchet.answer_by": answer.actor,
            "ratchet.answer_reason": answer.reason,
        }
        self.models.set_tags(request.model, request.version, tags)
        if request.verdict.mlflow_run_id:
            self.tracking.log_tags(request.verdict.mlflow_run_id, tags)

"""The registry as flows and Ray jobs see it: one object over MLflow, the ledger and the export."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from registry.answers import Answer, AnswerStore
from registry.approvals import ApprovalRequest, Approvals
from registry.card.card import Card
from registry.card.cards import Cards
from registry.champion import Alias, ChampionStatus, way_out
from registry.config import RegistryConfig
from registry.errors import (
    ChampionUnloadable,
    ModelUnloadable,
    UnknownModel,
    UnsupportedModel,
)
from registry.export import export_champion, exported_epoch
from registry.fitted import FittedModel
from registry.ledger import LedgerEntry
from registry.loaded import LoadedModel
from registry.locks import exclusive
from registry.methods.comparison import Comparison
from registry.mlflow_seam import translated
from registry.models import Models, ModelVersion
from registry.nights.docket import Docket
from registry.nights.docket_store import DOCKET, NightEntry, NightTaken
from registry.promotion import Promotions
from registry.reader import Reader
from registry.tie import TIE_TAG, Tie, refuse_tied_elsewhere
from registry.tracking import Tracking
from registry.verdict import Verdict, verdict_json, verdict_tags
from registry.watch_store import WATCH, WatchStore
from registry.watches import Watches


def connect(config: RegistryConfig) -> "Registry":
    """A registry that opens MLflow and the ledger when they are first needed."""
    return Registry(config)


class Registry(Reader):
    """Which model is live, why, and everything that led there; and what changes it."""

    def __init__(self, config: RegistryConfig) -> None:
        super().__init__(config)
        seam = self._seam
        self.tracking = Tracking(seam)
        """Runs in MLflow: `open_run`, `log_metrics`, `log_params`, ..., `end_run`."""
        self.models = Models(seam)
        """Registered versions: `register`, `version`, `versions`, `load`."""
        self._alias = Alias(seam)

    def champion(self, model: str) -> ChampionStatus:
        """Who is live, by ledger and alias; changes nothing."""
        return self._promotions.champion(model)

    def load_champion(self, model: str, *, modules: tuple[str, ...] = ()) -> LoadedModel | None:
        """The live model in memory; None before the first promotion.

        Raises ChampionUnloadable when its files are missing, altered, or of other versions.
        """
        status = self.champion(model)
        version = status.version
        if status.gone is not None:
            says, out = way_out(status)
            raise ChampionUnloadable(f"{says} So nothing can be compared with it.", hint=out)
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

    def card(self, verdict: Verdict) -> Card:
        """The verdict and everything that it rests on, also in MLflow."""
        return self._cards.of(verdict)

    def kept_card(self, verdict: Verdict) -> str | None:
        """The card's page as it was written to MLflow on its night; None when it was not."""
        return self._cards.kept(verdict)

    def promote(self, verdict: Verdict, *, actor: str, now: datetime) -> LedgerEntry:
        """Make the verdict's challenger champion if the epoch is still the verdict's; export it.

        Repeated by the same run, it converges to the same entry. Raises StaleEpoch,
        OutsiderChange, PromotionRefused, LedgerBroken, UnknownModel, ExportFailed.
        """
        entry = self._promotions.promote(verdict, actor=actor, now=now)
        shown = self.models.version(verdict.model, verdict.challenger).tags
        missing = {k: v for k, v in verdict_tags(verdict).items() if shown.get(k) != v}
        self.models.set_tags(verdict.model, verdict.challenger, missing)  # most often none
        self.export(verdict.model)
        return entry

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
        force: bool = False,
    ) -> LedgerEntry:
        """Make the champion before, or `to_version`, live again: one more entry; export it.

        Repeated, it changes nothing more. The version that it leaves is not proposed again until
        `release`. `force`: also to a version that never was champion.
        """
        entry = self._promotions.rollback(
            model,
            to_version,
            actor=actor,
            reason=reason,
            now=now,
            expected_epoch=expected_epoch,
            run_id=run_id,
            force=force,
        )
        self.export(model)
        return entry

    def rollback_target(self, model: str, to_version: str | None = None) -> str | None:
        """The version that `rollback` would make live; none: it would change nothing more."""
        return self._promotions.target(model, to_version)

    def release(self, model: str, version: str, *, actor: str, reason: str, now: datetime) -> bool:
        """Let a version that was rolled back from be proposed again; False: it may be already."""
        reign = self.set_aside(model).get(version)
        return reign is not None and self._approvals.release(
            reign, actor=actor, reason=reason, now=now
        )

    def retire(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Let no version be live, in whatever state the champion is."""
        return self._promotions.retire(model, actor=actor, reason=reason, now=now)

    def adopt(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Acknowledge what is there: an outsider's champion, or a history that was cut off."""
        entry = self._promotions.adopt(model, actor=actor, reason=reason, now=now)
        self.export(model)
        return entry

    def restore(self, model: str, *, actor: str, reason: str, now: datetime) -> LedgerEntry:
        """Undo an outsider's change of the champion."""
        entry = self._promotions.restore(model, actor=actor, reason=reason, now=now)
        self.export(model)
        return entry

    def reconcile(self, models: Iterable[str] = (), *, now: datetime) -> tuple[ChampionStatus, ...]:
        """Complete what a crash left pending, for these models or all; the rest is reported.

        Exports what was not exported yet. Raises ExportFailed.
        """
        found = self._promotions.reconcile(models, now=now)
        for status in found:
            if status.sound and status.settled and self.export_lags(status.model):
                self.export(status.model)
        return found

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
        """Copy the champion's files to `export_uri`; the version's URI, None without an export.

        Repeated, it changes nothing. One process exports a model at a time.
        """
        if self.config.export_uri is None:
            return None
        with exclusive(self.config.ledger_url, f"export-{model}"):
            head = self._ledger.head(model)
            if head is None or head.live is None:
                return None
            with tempfile.TemporaryDirectory(prefix="ratchet-export-") as folder:
                files = self.models.download(model, head.live, Path(folder))
                return export_champion(self.config.export_uri, head, files)

    def export_lags(self, model: str) -> bool:
        """Whether `export_uri` does not show the champion of the ledger."""
        head = self._ledger.head(model)
        if self.config.export_uri is None or head is None or head.live is None:
            return False
        return exported_epoch(self.config.export_uri, model) != head.epoch

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

    def tie(self, model: str, tie: Tie) -> None:
        """Keep which project trains the model; TiedElsewhere when another one does already."""
        registered = self._seam.registered(model)
        if registered is None:
            return
        refuse_tied_elsewhere(model, registered.tags, tie)
        if TIE_TAG not in registered.tags:
            with translated("MLflow"):
                self._seam.client.set_registered_model_tag(model, TIE_TAG, tie.to_json())

    def untie(self, model: str) -> None:
        """Forget which project trains the model: the next that does is tied to it."""
        registered = self._seam.registered(model)
        if registered is not None and TIE_TAG in registered.tags:
            with translated("MLflow"):
                self._seam.client.delete_registered_model_tag(model, TIE_TAG)

    def load(self, name: str, version: str, *, modules: tuple[str, ...] = ()) -> LoadedModel:
        """One version in memory."""
        return self.models.load(name, version, modules=modules)

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
    def _cards(self) -> Cards:
        return Cards(self.tracking, self.models, self._dockets, self._ledger)

    @cached_property
    def _promotions(self) -> Promotions:
        return Promotions(
            self._ledger,
            self._history,
            self._alias,
            self.models,
            self.config.ledger_url,
            refused=self.refused,
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

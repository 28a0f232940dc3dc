"""Cards as they are made on a verdict's night, kept in MLflow, and read again later."""

from registry.card.calibration import Reliability, calibration_from_json, calibration_json
from registry.card.card import Card
from registry.card.gather import gathered
from registry.card.page import card_html
from registry.card.reliability import calibration_of
from registry.ledger import Ledger
from registry.methods.comparison import Comparison
from registry.models import Models
from registry.nights.docket_store import DocketStore
from registry.report import figures
from registry.tracking import Tracking
from registry.verdict import Verdict

CARD_FILE = "card.html"
"""The card among the files of a run in MLflow."""
CALIBRATION_FILE = "calibration.json"
"""What its calibration is drawn from."""


class Cards:
    """Makes cards, and keeps each beside the MLflow run of its verdict."""

    def __init__(
        self, tracking: Tracking, models: Models, dockets: DocketStore, ledger: Ledger
    ) -> None:
        self._tracking = tracking
        self._models = models
        self._dockets = dockets
        self._ledger = ledger

    def of(self, verdict: Verdict, comparison: Comparison | None = None) -> Card:
        """The verdict and everything that it rests on.

        `comparison`: the verdict's; none: its calibration as it was kept.
        """
        calibration: tuple[Reliability, ...] = ()
        if comparison is not None:
            calibration = calibration_of(verdict, comparison)
        elif verdict.mlflow_run_id:
            kept = self._tracking.text(verdict.mlflow_run_id, CALIBRATION_FILE)
            calibration = () if kept is None else calibration_from_json(kept)
        return gathered(
            verdict,
            dockets=self._dockets,
            entries=self._ledger.entries(verdict.model),
            models=self._models,
            calibration=calibration,
        )

    def keep(self, verdict: Verdict, comparison: Comparison | None) -> None:
        """Write the card, its plots and its calibration to the verdict's run in MLflow."""
        run, card = verdict.mlflow_run_id, self.of(verdict, comparison)
        if card.calibration:
            self._tracking.log_dict(run, calibration_json(card.calibration), CALIBRATION_FILE)
        self._tracking.log_text(run, card_html(card), CARD_FILE)
        self._tracking.log_figures(run, figures(verdict, comparison, card))

    def kept(self, verdict: Verdict) -> str | None:
        """The card's page as it was written on its night; None when it was not."""
        if not verdict.mlflow_run_id:
            return None
        return self._tracking.text(verdict.mlflow_run_id, CARD_FILE)

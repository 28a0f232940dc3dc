"""Which model is live, and why: tracking, gate, promotion and ledger.

Names that need NumPy, Arrow or SQLAlchemy are imported when they are first asked for: a config, a
verdict or an error needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from registry.config import RegistryConfig
from registry.errors import (
    AlreadyAnswered,
    ApprovalExpired,
    ChampionUnloadable,
    ExportFailed,
    GateError,
    InvalidModelName,
    LedgerBroken,
    MissingFeature,
    ModelUnloadable,
    NothingWaits,
    OutsiderChange,
    PromotionRefused,
    RegistryError,
    RegistryUnreachable,
    StaleEpoch,
    TiedElsewhere,
    UnknownMetric,
    UnknownModel,
    UnsupportedModel,
)
from registry.names import check_model_name
from registry.tie import Tie
from registry.verdict import CaseNote, CaseState, Decision, Rule, RuleResult, Verdict, verdict_json

if TYPE_CHECKING:
    from registry.answers import Answer, AnswerKind
    from registry.approvals import ApprovalRequest
    from registry.card.card import Card
    from registry.card.model_evidence import ModelEvidence
    from registry.card.page import card_html
    from registry.champion import ChampionStatus
    from registry.fitted import FittedModel, Flavor
    from registry.gate import decide
    from registry.gate_config import Baseline, GateConfig, GateMode, OnHarm
    from registry.ledger import Action, LedgerBreak, LedgerEntry
    from registry.loaded import LoadedModel
    from registry.methods.bootstrap import Interval
    from registry.methods.comparison import Comparison
    from registry.methods.declared import row_metric
    from registry.methods.metrics import METRICS, row_losses, score
    from registry.models import ModelVersion
    from registry.nights.docket_store import NightEntry
    from registry.reader import Reader
    from registry.registry import Registry, connect
    from registry.report import figures
    from registry.tracking import TrackedRun
    from registry.watch import Watched, Watching, WatchState

__all__ = [
    "METRICS",
    "Action",
    "AlreadyAnswered",
    "Answer",
    "AnswerKind",
    "ApprovalExpired",
    "ApprovalRequest",
    "Baseline",
    "Card",
    "CaseNote",
    "CaseState",
    "ChampionStatus",
    "ChampionUnloadable",
    "Comparison",
    "Decision",
    "ExportFailed",
    "FittedModel",
    "Flavor",
    "GateConfig",
    "GateError",
    "GateMode",
    "Interval",
    "InvalidModelName",
    "LedgerBreak",
    "LedgerBroken",
    "LedgerEntry",
    "LoadedModel",
    "MissingFeature",
    "ModelEvidence",
    "ModelUnloadable",
    "ModelVersion",
    "NightEntry",
    "NothingWaits",
    "OnHarm",
    "OutsiderChange",
    "PromotionRefused",
    "Reader",
    "Registry",
    "RegistryConfig",
    "RegistryError",
    "RegistryUnreachable",
    "Rule",
    "RuleResult",
    "StaleEpoch",
    "Tie",
    "TiedElsewhere",
    "TrackedRun",
    "UnknownMetric",
    "UnknownModel",
    "UnsupportedModel",
    "Verdict",
    "WatchState",
    "Watched",
    "Watching",
    "card_html",
    "check_model_name",
    "connect",
    "decide",
    "figures",
    "row_losses",
    "row_metric",
    "score",
    "verdict_json",
]

_LATE = {
    "FittedModel": "registry.fitted",
    "Flavor": "registry.fitted",
    "Answer": "registry.answers",
    "AnswerKind": "registry.answers",
    "ApprovalRequest": "registry.approvals",
    "Card": "registry.card.card",
    "ModelEvidence": "registry.card.model_evidence",
    "card_html": "registry.card.page",
    "ChampionStatus": "registry.champion",
    "decide": "registry.gate",
    "Baseline": "registry.gate_config",
    "GateConfig": "registry.gate_config",
    "GateMode": "registry.gate_config",
    "OnHarm": "registry.gate_config",
    "Action": "registry.ledger",
    "LedgerBreak": "registry.ledger",
    "LedgerEntry": "registry.ledger",
    "LoadedModel": "registry.loaded",
    "Interval": "registry.methods.bootstrap",
    "Comparison": "registry.methods.comparison",
    "METRICS": "registry.methods.metrics",
    "row_losses": "registry.methods.metrics",
    "row_metric": "registry.methods.declared",
    "score": "registry.methods.metrics",
    "ModelVersion": "registry.models",
    "NightEntry": "registry.nights.docket_store",
    "Reader": "registry.reader",
    "Registry": "registry.registry",
    "connect": "registry.registry",
    "figures": "registry.report",
    "TrackedRun": "registry.tracking",
    "WatchState": "registry.watch",
    "Watched": "registry.watch",
    "Watching": "registry.watch",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value

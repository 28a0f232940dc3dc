"""Which model is live, and why: tracking, gate, promotion and ledger."""

from registry.answers import Answer, AnswerKind
from registry.approvals import ApprovalRequest
from registry.card.card import Card
from registry.card.page import card_html
from registry.champion import ChampionStatus
from registry.config import RegistryConfig
from registry.errors import (
    AlreadyAnswered,
    ApprovalExpired,
    ChampionUnloadable,
    ExportFailed,
    GateError,
    LedgerBroken,
    MissingFeature,
    ModelUnloadable,
    NothingWaits,
    OutsiderChange,
    PromotionRefused,
    RegistryError,
    RegistryUnreachable,
    StaleEpoch,
    UnknownMetric,
    UnknownModel,
    UnsupportedModel,
)
from registry.fitted import FittedModel, Flavor
from registry.gate import decide
from registry.gate_config import Baseline, GateConfig, GateMode, OnHarm
from registry.ledger import Action, LedgerBreak, LedgerEntry
from registry.loaded import LoadedModel
from registry.methods.bootstrap import Interval
from registry.methods.comparison import Comparison
from registry.methods.metrics import METRICS, row_losses, score
from registry.models import ModelVersion
from registry.nights.docket_store import NightEntry
from registry.registry import Registry, connect
from registry.report import figures
from registry.tracking import TrackedRun
from registry.verdict import CaseNote, CaseState, Decision, Rule, RuleResult, Verdict, verdict_json
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
    "LedgerBreak",
    "LedgerBroken",
    "LedgerEntry",
    "LoadedModel",
    "MissingFeature",
    "ModelUnloadable",
    "ModelVersion",
    "NightEntry",
    "NothingWaits",
    "OnHarm",
    "OutsiderChange",
    "PromotionRefused",
    "Registry",
    "RegistryConfig",
    "RegistryError",
    "RegistryUnreachable",
    "Rule",
    "RuleResult",
    "StaleEpoch",
    "TrackedRun",
    "UnknownMetric",
    "UnknownModel",
    "UnsupportedModel",
    "Verdict",
    "WatchState",
    "Watched",
    "Watching",
    "card_html",
    "connect",
    "decide",
    "figures",
    "row_losses",
    "score",
    "verdict_json",
]

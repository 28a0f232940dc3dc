"""Which model is live, and why: tracking, gate, promotion and ledger."""

from registry.champion import ChampionStatus
from registry.config import RegistryConfig
from registry.errors import (
    ChampionUnloadable,
    ExportFailed,
    GateError,
    LedgerBroken,
    MissingFeature,
    ModelUnloadable,
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
from registry.gate_config import Baseline, GateConfig, GateMode
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

__all__ = [
    "METRICS",
    "Action",
    "Baseline",
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
    "connect",
    "decide",
    "figures",
    "row_losses",
    "score",
    "verdict_json",
]

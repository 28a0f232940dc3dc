"""Which model is live, and why: tracking, gate, promotion and ledger.

Names that need NumPy, Arrow or SQLAlchemy are imported when they are first asked for: a config, a
verdict or an error needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from registry.verdict import Decision, Rule, RuleResult, Verdict, verdict_json

if TYPE_CHECKING:
    from registry.bootstrap import Interval
    from registry.champion import ChampionStatus
    from registry.comparison import Comparison
    from registry.gate import GateConfig, decide
    from registry.ledger import Action, LedgerBreak, LedgerEntry
    from registry.loaded import LoadedModel
    from registry.metrics import METRICS, row_losses, score
    from registry.models import ModelVersion
    from registry.registry import Registry, connect
    from registry.report import figures
    from registry.tracking import TrackedRun

__all__ = [
    "METRICS",
    "Action",
    "ChampionStatus",
    "ChampionUnloadable",
    "Comparison",
    "Decision",
    "ExportFailed",
    "FittedModel",
    "Flavor",
    "GateConfig",
    "GateError",
    "Interval",
    "LedgerBreak",
    "LedgerBroken",
    "LedgerEntry",
    "LoadedModel",
    "MissingFeature",
    "ModelUnloadable",
    "ModelVersion",
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

_LATE = {
    "Interval": "registry.bootstrap",
    "ChampionStatus": "registry.champion",
    "Comparison": "registry.comparison",
    "GateConfig": "registry.gate",
    "decide": "registry.gate",
    "Action": "registry.ledger",
    "LedgerBreak": "registry.ledger",
    "LedgerEntry": "registry.ledger",
    "LoadedModel": "registry.loaded",
    "METRICS": "registry.metrics",
    "row_losses": "registry.metrics",
    "score": "registry.metrics",
    "ModelVersion": "registry.models",
    "Registry": "registry.registry",
    "connect": "registry.registry",
    "figures": "registry.report",
    "TrackedRun": "registry.tracking",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value

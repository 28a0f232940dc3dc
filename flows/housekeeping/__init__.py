"""Looking after an installation: its champions, its KPIs, what is wrong with it, what can go."""

from flows.housekeeping.champion import adopt, approve, restore, rollback
from flows.housekeeping.examine import audit, kpis
from flows.housekeeping.prune import Doomed, Plan, carry_out, plan

__all__ = [
    "Doomed",
    "Plan",
    "adopt",
    "approve",
    "audit",
    "carry_out",
    "kpis",
    "plan",
    "restore",
    "rollback",
]

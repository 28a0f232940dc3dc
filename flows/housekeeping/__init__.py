"""Looking after an installation: its champions, and what can go."""

from flows.housekeeping.champion import adopt, approve, restore, rollback
from flows.housekeeping.prune import Doomed, Plan, carry_out, plan

__all__ = [
    "Doomed",
    "Plan",
    "adopt",
    "approve",
    "carry_out",
    "plan",
    "restore",
    "rollback",
]

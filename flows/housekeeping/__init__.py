"""Looking after an installation: its KPIs, what is wrong with it, and what can go."""

from flows.housekeeping.approve import approve
from flows.housekeeping.examine import audit, kpis
from flows.housekeeping.prune import Doomed, Plan, carry_out, plan

__all__ = ["Doomed", "Plan", "approve", "audit", "carry_out", "kpis", "plan"]

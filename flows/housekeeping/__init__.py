"""Looking after an installation: its champions; `flows.housekeeping.prune`: what can go."""

from flows.housekeeping.champion import announced

__all__ = ["announced"]

"""Looking after an installation: its champions; `flows.housekeeping.prune`: what can go."""

from flows.housekeeping.champion import adopt, approve, restore, rollback

__all__ = ["adopt", "approve", "restore", "rollback"]

"""What a split keeps from training, as a result states it."""

from __future__ import annotations

from dataclasses import dataclass

from core.kinds import Count, Moment, Positive


@dataclass(frozen=True)
class Withheld:
    """What training never met although it is asked about."""

    items: Positive
    """In the whole catalogue."""
    withheld_items: Count
    """Those of them that no target, history or negative of the training has."""
    new_users: Count
    """Test users whom training does not know."""
    new_targets: Count
    """Test cases, each counted once, whose target no training sequence has."""
    cold_items: Count = 0
    """Items that were drawn to be cold."""
    test_from: Moment | None = None
    """Under a split by time, the moment from which on targets are tested."""
    validation_from: Moment | None = None
    """The moment before which training ends."""

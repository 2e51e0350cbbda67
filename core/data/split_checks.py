"""What a split is refused for, in one line each: few cold items, histories no shorter, empty parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized

from core.data.cards import DatasetCard
from core.data.splits import Division, Wanted
from core.data.types import COLD, SHORT
from core.errors import InputError


def check_shortest(card: DatasetCard, min_history: int) -> None:
    """Raises `InputError` unless so short histories are shorter than what the card asks about anyway."""
    rule = card.rules.min_history
    if min_history < max(1, rule):
        return
    shorter = {1: "", 2: "give 1, or "}.get(rule, f"give 1 to {rule - 1}, or ")
    raise InputError(
        f"--min-history is {min_history}, and {card.name} asks about histories of {rule} items anyway",
        f"{shorter}leave it out",
    )


def check_cold(share: float, cold: Sized, n_items: int, candidates: int) -> None:
    """Raises `InputError` where a share of the items is too small for one case's candidates."""
    if share and len(cold) < candidates:
        least = math.ceil(10_000 * candidates / n_items) / 10_000
        raise InputError(
            f"--cold-items {share:g} of {n_items:,} items are {len(cold)}, "
            f"and a case among cold items needs {candidates}",
            f"give {least:g} or more",
        )


def check_filled(division: Division, test: Mapping[str, Sized], name: str, wanted: Wanted) -> None:
    """Refuses a division by time or with cold items that leaves a part empty, and special sets without cases.

    Args:
        division: of the dataset.
        test: the test sets, of the users who are asked.
        name: the dataset's.
        wanted: what was asked for.

    Raises:
        InputError: there is no case where there must be one.
    """
    if wanted.cold or wanted.moments:
        option = "--cold-items" if wanted.cold else "--test-from"
        hint = "give a smaller share" if wanted.cold else "give another moment"
        parts = {"training": division.train, "validation": division.validation, "test": test["last"]}
        for part, cases in parts.items():
            if not len(cases):
                raise InputError(f"{option} leaves no {part} case in {name}", hint)
    if wanted.cold and not len(test[COLD]):
        raise InputError(f"no test case of {name} has a cold target", "give a larger --cold-items")
    if wanted.shortest and not len(test[SHORT]):
        rule = f"{wanted.shortest} or more items and fewer than usual"
        raise InputError(f"no test case of {name} has a history of {rule}", "leave --min-history out")

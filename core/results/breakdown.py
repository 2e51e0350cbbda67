"""Where a method wins: the cases of a table by target, history, shared titles, and what training knows.

What a group is depends on the cases alone, never on how a method did on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.data.types import Place
from core.errors import ResultError
from core.evaluation.statistics import Estimate
from core.results.case_facts import CaseFacts
from core.results.tables import Row

DIMENSIONS = {
    "popularity": "How often the target occurs in the training part",
    "history": "How many items of the history are read",
    "title": "Whether another item of the catalogue has the target's title",
    "user": "Whether training knows the user",
    "item": "Whether a training sequence has the target",
}
"""What cases can be cut by, in words."""

LONG = (6, 10)
"""Histories below the first are short, from the second on long whatever the dataset's rules allow."""


@dataclass(frozen=True)
class Group:
    """Some of a test set's cases."""

    dimension: str
    """One of `DIMENSIONS`."""
    name: str
    members: npt.NDArray[np.bool_]
    """(n,) which cases belong to it, in the order of `Row.values`."""

    def __len__(self) -> int:
        return int(self.members.sum())


def groups(facts: Mapping[Place, CaseFacts], places: Sequence[Place]) -> list[Group]:
    """The groups of a test set's cases, by every dimension; groups without a case are left out.

    Args:
        facts: of all cases of the output folder.
        places: the test set's cases, in the order of `Row.values`.

    Raises:
        ResultError: a case has no facts.
    """
    if missing := [place for place in places if place not in facts]:
        raise ResultError(
            f"nothing is known of case {missing[0]}",
            "run the benchmark again: finished results are reused",
        )
    known = [facts[place] for place in places]
    popularity = np.array([fact.popularity for fact in known])
    length = np.array([fact.history for fact in known])
    more = bool((length > LONG[1]).any())
    shared = np.array([fact.shared_title for fact in known])
    familiar, stranger = (np.array([fact.known_user is side for fact in known]) for side in (True, False))
    found = [
        *_thirds(popularity),
        Group("history", f"fewer than {LONG[0]} items", length < LONG[0]),
        Group("history", f"{LONG[0]} to {LONG[1] - 1} items", (length >= LONG[0]) & (length < LONG[1])),
        Group("history", f"{LONG[1]} items{' or more' * more}", length >= LONG[1]),
        Group("title", "shared title", shared),
        Group("title", "title of its own", ~shared),
        Group("user", "known users", familiar),
        Group("user", "new users", stranger),  # neither where an older file says nothing
        Group("item", "known items", popularity > 0),
        Group("item", "new items", popularity == 0),
    ]
    return [group for group in found if len(group)]


def _thirds(popularity: npt.NDArray[np.int64]) -> list[Group]:
    """Cases in three parts of about the same size, by how often the target was trained on."""
    low, high = (int(bound) for bound in np.quantile(popularity, [1 / 3, 2 / 3], method="lower"))
    rare, popular = popularity <= low, popularity > high
    return [
        Group("popularity", f"rare targets (at most {low:,})", rare),
        Group("popularity", f"in between (to {high:,})", ~rare & ~popular),
        Group("popularity", f"popular targets (over {high:,})", popular),
    ]


def by_group(rows: Sequence[Row], test_set: str, found: Sequence[Group]) -> list[list[dict[str, Estimate]]]:
    """Metrics of single cases in every group, with intervals: [group][row] -> metric -> estimate.

    Args:
        rows: of one table.
        test_set: whose cases the groups divide.
        found: from `groups`.
    """
    return [[row.estimates(test_set, group.members) for row in rows] for group in found]

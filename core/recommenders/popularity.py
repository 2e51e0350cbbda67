"""Popularity: the item that most training users interacted with comes first, whatever the history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.data.samples import last_positions, trained_on
from core.data.temporal import first_from
from core.data.types import Dataset, Samples
from core.evaluation.metrics import Scores
from core.recommenders.base import FitReport, Recommender, Task


class Popularity(Recommender):
    """Scores an item by its number of training interactions."""

    name = "popularity"

    def fit(self, task: Task) -> FitReport:
        """Counts the targets and histories of the training samples, every interaction once."""
        self.counts = item_counts(task.dataset, task.samples)
        return FitReport()

    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """The counts of the candidates."""
        del histories
        return self.counts[np.asarray(candidates, dtype=np.int64)]


def item_counts(dataset: Dataset, samples: Samples) -> Scores:
    """How often each item occurs in the training part of the sequences, (items,)."""
    counts = np.zeros(len(dataset.catalogue), dtype=np.float32)
    for items in training_sequences(dataset, samples):
        np.add.at(counts, items, 1)
    return counts


def training_sequences(dataset: Dataset, samples: Samples, until: int | None = None) -> list[np.ndarray]:
    """Each training user's items that training may see, up to the last such position, oldest first.

    Args:
        dataset: all of it.
        samples: its cases.
        until: leave out what is of this moment or later, in seconds since 1970, and users without anything
            before it.
    """
    known = trained_on(dataset, samples)
    ends = {user: end + 1 for user, end in last_positions(samples.train).items()}
    if until is not None:
        ends = {user: min(end, first_from(known[user], until)) for user, end in ends.items()}
    return [known[user].items[:end] for user, end in ends.items() if end]

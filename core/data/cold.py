"""Cold items: a seeded share of the catalogue that no training and no validation meets in any way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.data.types import Dataset, UserSequence


def draw_cold(dataset_name: str, ids: Sequence[str], share: float, seed: int) -> frozenset[int]:
    """Catalogue indices of the cold items: those with the smallest SHA-256 of dataset, seed and id.

    The draw depends on nothing else, and a larger share holds all items of a smaller one.
    """

    def key(item: int) -> bytes:
        return hashlib.sha256(json.dumps([dataset_name, "cold", seed, ids[item]]).encode()).digest()

    return frozenset(sorted(range(len(ids)), key=key)[: round(share * len(ids))])


def without(dataset: Dataset, items: frozenset[int]) -> Dataset:
    """The dataset with these items taken out of all sequences; the catalogue stays as it is."""
    if not items:
        return dataset
    left = np.ones(len(dataset.catalogue), np.bool_)
    left[list(items)] = False

    def bare(sequence: UserSequence) -> UserSequence:
        kept = left[sequence.items]
        return replace(sequence, items=sequence.items[kept], timestamps=sequence.timestamps[kept])

    return replace(dataset, sequences={user: bare(one) for user, one in dataset.sequences.items()})

"""A split by time: one moment for all users, before which training ends and from which on is tested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from core.config.moments import moment_of, said
from core.data.types import Dataset, Moments, UserSequence
from core.errors import InputError

TRAINED = 0.9
"""Share of the interactions before the test that training reads; what comes then validates."""


def moments_of(dataset: Dataset, test_from: str) -> Moments:
    """Where a split cuts that is tested from a moment on.

    A share q means the time of the first interaction, in the order of time over all users, before which there
    are q of them or, where several have that time, fewer. Of the interactions before the test the last tenth
    validates.

    Raises:
        InputError: the data has no times, the moment is outside of it, or nothing is left before it.
    """
    wanted = moment_of(test_from)
    times = np.sort(np.concatenate([one.timestamps for one in dataset.sequences.values()]))
    if not len(times) or times[0] == times[-1]:
        raise InputError(
            f"the interactions of {dataset.name} have no times, so that they cannot be split by time",
            f"use --split {dataset.card.splits[0]}",
        )
    test = int(times[int(wanted * len(times))]) if isinstance(wanted, float) else wanted
    if not times[0] < test <= times[-1]:
        raise InputError(
            f"--test-from {test_from} is {said(test)}, and there must be interactions before and after it",
            f"those of {dataset.name} are from {said(int(times[0]))} to {said(int(times[-1]))}",
        )
    before = times[times < test]
    validation = int(before[int(TRAINED * len(before))])
    if validation == before[0]:
        raise InputError(
            f"--test-from {test_from} leaves nothing to train on before what validates",
            "give a later moment",
        )
    return Moments(validation, test)


def until(dataset: Dataset, moment: int) -> Dataset:
    """The dataset as it was before a moment: what came later is not there, nor are users who came later.

    What a rule dropped from the sequences has no time here: it is not among the items that users have seen.
    """
    sequences = {}
    for user, sequence in dataset.sequences.items():
        end = first_from(sequence, moment)
        if end:
            items = sequence.items[:end]
            sequences[user] = UserSequence(user, items, sequence.timestamps[:end], met=items)
    return replace(dataset, sequences=sequences)


def first_from(sequence: UserSequence, moment: int) -> int:
    """Position of a user's first item of this moment or later; the length where there is none."""
    return int(np.searchsorted(sequence.timestamps, moment))


def items_of(dataset: Dataset) -> frozenset[int]:
    """Every item that is in some user's sequence."""
    met: npt.NDArray[np.bool_] = np.zeros(len(dataset.catalogue), np.bool_)
    for sequence in dataset.sequences.values():
        met[sequence.items] = True
    return frozenset(np.flatnonzero(met).tolist())

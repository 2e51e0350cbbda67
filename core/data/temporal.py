"""A split by time: one moment for all users, before which training ends and from which on is tested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from core.config.moments import TEST_FROM, moment_of, said
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
    times = _times(dataset)
    if not len(times) or times[0] == times[-1]:
        raise InputError(
            f"the interactions of {dataset.name} have no times, so that they cannot be split by time",
            f"use --split {dataset.card.splits[0]}",
        )
    test = _within(times, test_from, TEST_FROM, dataset.name)
    before = times[times < test]
    validation = int(before[int(TRAINED * len(before))])
    if validation == before[0]:
        raise InputError(
            f"--test-from {test_from} leaves nothing to train on before what validates",
            "give a later moment",
        )
    return Moments(validation, test)


def old_moment(dataset: Dataset, moments: Moments, text: str, option: str) -> int:
    """The moment that an option names, a share of all interactions or a date, in seconds since 1970.

    Raises:
        InputError: it is not between the first interaction and the last one that trains.
    """
    times = _times(dataset)
    found = _within(times, text, option, dataset.name)
    if found > moments.validation:
        raise InputError(
            f"{option} {text} is {said(found)}, when training is over already",
            f"it ends at {said(moments.validation)}; give an earlier moment, or leave {option} out",
        )
    return found


def _times(dataset: Dataset) -> npt.NDArray[np.int64]:
    """When each interaction was, over all users, sorted."""
    return np.sort(np.concatenate([one.timestamps for one in dataset.sequences.values()]))


def _within(times: npt.NDArray[np.int64], text: str, option: str, name: str) -> int:
    """The moment that an option names, which must be within these sorted times."""
    wanted = moment_of(text, option)
    found = int(times[int(wanted * len(times))]) if isinstance(wanted, float) else wanted
    if not times[0] < found <= times[-1]:
        raise InputError(
            f"{option} {text} is {said(found)}, and there must be interactions before and after it",
            f"those of {name} are from {said(int(times[0]))} to {said(int(times[-1]))}",
        )
    return found


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

"""Which user positions train, validate and test; nothing here looks at scores."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from core.data.cards import DatasetCard
from core.data.cold import without
from core.data.temporal import first_from, until
from core.data.types import COLD, COLD_ALL, SHORT, Dataset, Moments, Place
from core.errors import DataError, InputError

Places = Sequence[Place]
"""Cases, users in the dataset's order."""


class Stretches(Sequence[Place]):
    """A stretch of positions for each user, without a tuple for each of the millions there may be."""

    def __init__(self, ranges: Mapping[str, range]) -> None:
        self.ranges = {user: positions for user, positions in ranges.items() if positions}
        self._users = list(self.ranges)
        self._ends = list(itertools.accumulate(map(len, self.ranges.values())))

    def of(self, users: Container[str]) -> Stretches:
        """Those of some users alone."""
        return Stretches({user: positions for user, positions in self.ranges.items() if user in users})

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Place, ...]: ...
    def __getitem__(self, index: int | slice) -> Place | tuple[Place, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        place = bisect.bisect_right(self._ends, index)
        user = self._users[place]
        return user, self.ranges[user][index - self._ends[place]]  # counted from the stretch's end

    def __iter__(self) -> Iterator[Place]:
        return ((user, position) for user, positions in self.ranges.items() for position in positions)


@dataclass(frozen=True)
class Division:
    """Where the targets of each set are."""

    train: Stretches
    """Positions in the sequences of `trained`."""
    validation: Places
    """Positions in the sequences of `validated`."""
    test: Mapping[str, Places]
    """Test-set name -> its targets, positions in the dataset's own sequences; the sets overlap."""
    trained: Dataset
    """The dataset as training knows it: without cold items, under a split by time without what came later."""
    validated: Dataset
    """The dataset as validation knows it."""


@dataclass(frozen=True)
class Wanted:
    """What a division is asked for beside its split."""

    spread_positions: int = 10
    """Most test cases per user in the test set `spread`, and in `cold`."""
    validation_positions: int = 3
    """Most validation cases per user."""
    moments: Moments | None = None
    """Where a split by time cuts."""
    cold: frozenset[int] = frozenset()
    """Items that training and validation must not meet."""
    shortest: int = 0
    """Test histories of so many items up to the card's `min_history` are the set `short`; 0: no such set."""


def divide(dataset: Dataset, card: DatasetCard, split: str, wanted: Wanted) -> Division:
    """The division of a dataset.

    A position counts only with at least `card.rules.min_history` items before it, so that users with
    fewer kept items than that plus one give no case at all.

    Raises:
        InputError: the split is unknown or not possible with this card.
        DataError: the card lists a user that the data does not have.
    """
    check_split(card, split)
    if wanted.spread_positions < 1 or wanted.validation_positions < 1:
        raise InputError("the number of positions per user must be at least 1", "such as 10 and 3")
    if split == "temporal":
        return _temporal(dataset, card.rules.min_history, wanted)
    if split == "leave-one-out":
        return _leave_one_out(dataset, card.rules.min_history, wanted)
    return _paper(dataset, card, wanted)


def check_split(card: DatasetCard, split: str) -> None:
    """Raises `InputError` unless a dataset can be divided in this way."""
    if split in card.splits:
        return
    hint = f"splits of this dataset: {', '.join(card.splits)}"
    if split == "temporal":
        raise InputError(f"{card.name} has no times, so that it cannot be split by time", hint)
    raise InputError(f"unknown split '{split}' for {card.name}", hint)


def spread(first: int, last: int, count: int) -> tuple[int, ...]:
    """At most `count` different positions from `first` to `last`, evenly spaced, always with `last`.

    Empty when `last` is before `first`.
    """
    span = last - first
    steps = min(count, span + 1) - 1
    if span < 0:
        return ()
    if steps == 0:
        return (last,)
    return tuple(first + (place * span + steps // 2) // steps for place in range(steps + 1))


def _paper(dataset: Dataset, card: DatasetCard, wanted: Wanted) -> Division:
    """Whole users are held out (paper §4.1): test on their last item, and on positions spread over all."""
    test, validation = held_out_users(dataset, card)
    first = card.rules.min_history
    known = without(dataset, wanted.cold)
    lengths = {user: len(sequence.items) for user, sequence in known.sequences.items()}
    trained = Stretches(
        {
            user: range(first, length)
            for user, length in lengths.items()
            if user not in test and user not in validation
        }
    )
    ends = {user: (first, length - 1) for user, length in lengths.items() if user in validation}
    # Of published users one window is known, and nothing of what came before it.
    most = 1 if dataset.published else wanted.validation_positions
    chosen = {user: spread(*positions, most) for user, positions in ends.items()}
    earliest = wanted.shortest or first
    asked = {
        user: range(earliest, len(sequence.items))
        for user, sequence in dataset.sequences.items()
        if user in test
    }
    if dataset.published:
        asked = {user: positions[-1:] for user, positions in asked.items()}
    sets = _test_sets(dataset, asked, first, wanted, spreads=not dataset.published)
    return Division(trained, _each(chosen), sets, known, known)


def _test_sets(
    dataset: Dataset, asked: Mapping[str, range], first: int, wanted: Wanted, spreads: bool
) -> dict[str, Places]:
    """The test sets: `last`, perhaps `spread`, and, where they were asked for, cold and short ones.

    Args:
        dataset: the whole one.
        asked: user -> positions that may be asked, the ones of the set `short` included.
        first: items that a history needs outside of `short`.
        wanted: what is asked for.
        spreads: whether there is a set `spread`.
    """
    usual: dict[str, list[int]] = {}
    cold: dict[str, list[int]] = {}
    short: dict[str, tuple[int, ...]] = {}
    for user, positions in asked.items():
        of_cold = _meeting(dataset.sequences[user].items, positions, wanted.cold)
        warm = [position for position in positions if position not in of_cold]
        usual[user] = [position for position in warm if position >= first]
        short[user] = tuple(position for position in warm if position < first)
        cold[user] = [position for position in sorted(of_cold) if position >= first]
    last = {user: tuple(positions[-1:]) for user, positions in usual.items()}
    sets = {"last": _each(last)}
    if spreads:
        sets["spread"] = _each({user: evenly(own, wanted.spread_positions) for user, own in usual.items()})
    if wanted.cold:
        chosen = _each({user: evenly(own, wanted.spread_positions) for user, own in cold.items()})
        sets |= {COLD: chosen, COLD_ALL: chosen}
    if wanted.shortest:
        sets[SHORT] = _each(short)
    return sets


def _meeting(items: npt.NDArray[np.int64], positions: range, cold: frozenset[int]) -> frozenset[int]:
    """Those of the positions whose item is cold."""
    if not cold:
        return frozenset()
    met = items[positions.start : positions.stop].tolist()
    return frozenset(position for position, item in zip(positions, met, strict=True) if item in cold)


def evenly(positions: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of these positions, evenly spaced, always with the last."""
    return tuple(positions[place] for place in spread(0, len(positions) - 1, count))


def held_out_users(dataset: Dataset, card: DatasetCard) -> tuple[frozenset[str], frozenset[str]]:
    """Test users and validation users of the paper's split.

    Drawn users are those with the smallest SHA-256 of dataset, seed and id: a tenth tests, the next tenth
    validates. The draw depends on nothing else, and not on the order of the users.

    Raises:
        DataError: the card lists a user whom the data does not have, or too few users are there to draw from.
    """
    assert card.split is not None
    if card.split.published:
        test = frozenset(user for user, part in dataset.published.items() if part == "test")
        return test, frozenset(dataset.published) - test
    if card.split.seed is not None:
        return _drawn(dataset, card.split.seed)
    listed, choosing = frozenset(card.split.test_users), frozenset(card.split.validation_users)
    missing = sorted((listed | choosing) - set(dataset.sequences))
    if missing:
        raise DataError(
            f"{card.name}: the split lists user '{missing[0]}', who is not in the data",
            "correct [split] in the card",
        )
    return listed, choosing


def _drawn(dataset: Dataset, seed: int) -> tuple[frozenset[str], frozenset[str]]:
    tenth = len(dataset.sequences) // 10
    if tenth < 1:
        raise DataError(
            f"{dataset.name} has {len(dataset.sequences)} users, and 10 are needed to divide them 8:1:1",
            "use --split leave-one-out",
        )

    def key(user: str) -> bytes:
        return hashlib.sha256(json.dumps([dataset.name, seed, user]).encode()).digest()

    users = sorted(dataset.sequences, key=key)
    return frozenset(users[:tenth]), frozenset(users[tenth : 2 * tenth])


def _leave_one_out(dataset: Dataset, first: int, wanted: Wanted) -> Division:
    """Everyone's last item tests, the one before validates, those before train."""
    known = without(dataset, wanted.cold)
    lasts = {user: len(sequence.items) - 1 for user, sequence in dataset.sequences.items()}
    before = {}  # the last one that validates or trains, where known items are counted
    for user, last in lasts.items():
        tested = last >= 0 and int(dataset.sequences[user].items[last]) not in wanted.cold
        before[user] = len(known.sequences[user].items) - 1 - tested
    earliest = wanted.shortest or first
    asked = {user: range(last, last + 1) for user, last in lasts.items() if last >= earliest}
    return Division(
        train=Stretches({user: range(first, last) for user, last in before.items()}),
        validation=tuple((user, last) for user, last in before.items() if last >= first),
        test=_test_sets(dataset, asked, first, wanted, spreads=False),
        trained=known,
        validated=known,
    )


def _temporal(dataset: Dataset, first: int, wanted: Wanted) -> Division:
    """All that is earlier than one moment trains and validates, the targets from it on test.

    Histories hold all that the user had before the target, also what came after the moment.
    """
    assert wanted.moments is not None
    start, end = wanted.moments.validation, wanted.moments.test
    trained = without(until(dataset, start), wanted.cold)
    validated = without(until(dataset, end), wanted.cold)
    chosen = {
        user: spread(max(first, first_from(known, start)), len(known.items) - 1, wanted.validation_positions)
        for user, known in validated.sequences.items()
    }
    earliest = wanted.shortest or first
    asked = {
        user: range(max(earliest, first_from(sequence, end)), len(sequence.items))
        for user, sequence in dataset.sequences.items()
    }
    return Division(
        train=Stretches({user: range(first, len(known.items)) for user, known in trained.sequences.items()}),
        validation=_each(chosen),
        test=_test_sets(dataset, asked, first, wanted, spreads=True),
        trained=trained,
        validated=validated,
    )


def _each(positions: Mapping[str, tuple[int, ...]]) -> Places:
    return tuple((user, position) for user, mine in positions.items() for position in mine)

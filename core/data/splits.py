"""Which user positions train, validate and test; nothing here looks at scores."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from core.data.cards import DatasetCard
from core.data.types import Dataset
from core.errors import DataError, InputError

Place = tuple[str, int]
Places = Sequence[Place]
"""(user, position of the target in the user's sequence), users in the dataset's order."""


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
    validation: Places
    test: Mapping[str, Places]
    """Test-set name -> its targets; the sets overlap."""


def divide(
    dataset: Dataset, card: DatasetCard, split: str, spread_positions: int, validation_positions: int
) -> Division:
    """The division of a dataset.

    A position counts only with at least `card.rules.min_history` items before it, so that users with
    fewer kept items than that plus one give no case at all.

    Raises:
        InputError: the split is unknown or not possible with this card.
        DataError: the card lists a user that the data does not have.
    """
    if split not in card.splits:
        raise InputError(
            f"unknown split '{split}' for {card.name}", f"splits of this dataset: {', '.join(card.splits)}"
        )
    if spread_positions < 1 or validation_positions < 1:
        raise InputError("the number of positions per user must be at least 1", "such as 10 and 3")
    if split == "leave-one-out":
        return _leave_one_out(dataset, card.rules.min_history)
    return _paper(dataset, card, spread_positions, validation_positions)


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


def _paper(dataset: Dataset, card: DatasetCard, spread_positions: int, validation_positions: int) -> Division:
    """Whole users are held out (paper §4.1): test on their last item, and on positions spread over all."""
    test, validation = held_out_users(dataset, card)
    first = card.rules.min_history
    lasts = {user: len(sequence.items) - 1 for user, sequence in dataset.sequences.items()}
    held_out = {user: last for user, last in lasts.items() if user in test and last >= first}
    trained = Stretches(
        {
            user: range(first, last + 1)
            for user, last in lasts.items()
            if user not in test and user not in validation
        }
    )
    if dataset.published:  # one window per user is published, and nothing of what came before it
        ends = ((user, last) for user, last in lasts.items() if user in validation and last >= first)
        return Division(trained, tuple(ends), {"last": tuple(held_out.items())})
    return Division(
        train=trained,
        validation=_each(
            {
                user: spread(first, last, validation_positions)
                for user, last in lasts.items()
                if user in validation
            }
        ),
        test={
            "last": tuple(held_out.items()),
            "spread": _each({user: spread(first, last, spread_positions) for user, last in held_out.items()}),
        },
    )


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


def _leave_one_out(dataset: Dataset, first: int) -> Division:
    """Everyone's last item tests, the one before validates, those before train."""
    lasts = {user: len(sequence.items) - 1 for user, sequence in dataset.sequences.items()}
    return Division(
        train=Stretches({user: range(first, last - 1) for user, last in lasts.items()}),
        validation=tuple((user, last - 1) for user, last in lasts.items() if last - 1 >= first),
        test={"last": tuple((user, last) for user, last in lasts.items() if last >= first)},
    )


def _each(positions: Mapping[str, tuple[int, ...]]) -> Places:
    return tuple((user, position) for user, mine in positions.items() for position in mine)

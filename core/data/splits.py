"""Which user positions train, validate and test; nothing here looks at scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.data.cards import DatasetCard
from core.data.types import Dataset
from core.errors import DataError, InputError

Places = tuple[tuple[str, int], ...]
"""(user, position of the target in the user's sequence), users in the dataset's order."""


@dataclass(frozen=True)
class Division:
    """Where the targets of each set are."""

    train: Places
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
    assert card.split is not None
    test, validation = set(card.split.test_users), set(card.split.validation_users)
    missing = sorted((test | validation) - set(dataset.sequences))
    if missing:
        raise DataError(
            f"{card.name}: the split lists user '{missing[0]}', who is not in the data",
            "correct [split] in the card",
        )
    first = card.rules.min_history
    lasts = {user: len(sequence.items) - 1 for user, sequence in dataset.sequences.items()}
    held_out = {user: last for user, last in lasts.items() if user in test and last >= first}
    return Division(
        train=_each(
            {
                user: range(first, last + 1)
                for user, last in lasts.items()
                if user not in test and user not in validation
            }
        ),
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


def _leave_one_out(dataset: Dataset, first: int) -> Division:
    """Everyone's last item tests, the one before validates, those before train."""
    lasts = {user: len(sequence.items) - 1 for user, sequence in dataset.sequences.items()}
    return Division(
        train=_each({user: range(first, last - 1) for user, last in lasts.items()}),
        validation=tuple((user, last - 1) for user, last in lasts.items() if last - 1 >= first),
        test={"last": tuple((user, last) for user, last in lasts.items() if last >= first)},
    )


def _each(positions: Mapping[str, range | tuple[int, ...]]) -> Places:
    return tuple((user, position) for user, mine in positions.items() for position in mine)

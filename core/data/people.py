"""Users to do something for, one after the other: a dataset's own, or those of a file of histories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.data.history_file import check_users, read_rows
from core.data.types import Dataset
from core.stages import UNWATCHED, Watch


@dataclass(frozen=True)
class Person:
    """A user as the work needs one."""

    user: str
    history: tuple[int, ...]
    """Known items, the last ones, oldest first, as many as the dataset's rules say; perhaps none."""
    seen: frozenset[int]
    """Every known item that the user ever met."""
    unknown: int = 0
    """Items that the catalogue does not have, and that were passed over."""


def count_people(dataset: Dataset, histories: Path | None = None, watch: Watch = UNWATCHED) -> int:
    """How many users `people` gives; a file is read through and checked.

    Raises:
        InputError, DataError, Interrupted: see `check_users`.
    """
    return len(dataset.sequences) if histories is None else check_users(histories, watch)


def people(dataset: Dataset, histories: Path | None = None) -> Iterator[Person]:
    """All users in a fixed order: the dataset's, or those of a file, each with the newest history.

    Raises:
        InputError, DataError: the file cannot be read.
    """
    longest = dataset.rules.max_history
    if histories is None:
        for user, sequence in dataset.sequences.items():
            yield Person(user, tuple(sequence.items[-longest:].tolist()), sequence.seen)
        return
    places = {item: place for place, item in enumerate(dataset.catalogue.ids)}
    for row in read_rows(histories):
        known = [places[item] for item in row.history if item in places]
        yield Person(row.user, tuple(known[-longest:]), frozenset(known), len(row.history) - len(known))

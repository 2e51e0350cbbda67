"""What data looks like after reading: a catalogue, user sequences, and ranking samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from core.data.cards import DatasetCard, Rules

Place = tuple[str, int]
"""A case's user, and the position of its target in the user's sequence: its name in every result file."""
COLD, COLD_ALL, SHORT = "cold", "cold-all", "short"
"""Test sets beside the usual ones: cold targets among cold items, the same among all, short histories."""


def pool_of(test_set: str) -> str:
    """What the candidates of a test set are drawn from: `cold` items, or all, which is an empty name."""
    return COLD if test_set == COLD else ""


@dataclass(frozen=True)
class Catalogue:
    """All items of a dataset; an item is its index here, 0 .. len - 1."""

    ids: tuple[str, ...]
    """The source's own identifier of each item."""
    titles: tuple[str, ...]
    """Display title, unique per item, never empty."""
    tags: tuple[tuple[str, ...], ...]
    """Genres or tags; empty where the source has none."""
    years: tuple[str, ...]
    """Four digits, such as 1995; empty where the source has none."""
    plain_titles: tuple[str, ...]
    """Titles without a year and without what makes them unique: two items may share one."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class UserSequence:
    """One user's kept interactions, oldest first."""

    user: str
    items: npt.NDArray[np.int64]  # (length,) catalogue indices
    timestamps: npt.NDArray[np.int64]  # (length,) seconds since 1970; zeros where the source has none
    met: npt.NDArray[np.int64]  # (interactions,) catalogue indices
    """What the user ever interacted with, also what a rule dropped from `items`."""

    @property
    def seen(self) -> frozenset[int]:
        """Every item the user ever interacted with; made anew each time, as millions take gigabytes."""
        return frozenset(self.met.tolist())


@dataclass(frozen=True)
class Dataset:
    """A dataset ready to be split: catalogue and sequences, after the card's rules."""

    card: DatasetCard
    """Where it came from, and how it is split and talked about."""
    catalogue: Catalogue
    sequences: Mapping[str, UserSequence]
    """User id -> sequence, in the order of the users' first appearance in a sorted list of ids."""
    published: Mapping[str, str] = field(default_factory=dict)
    """User id -> `validation` or `test`, where the source publishes its own division."""
    parts: tuple[Dataset, ...] = ()
    """Of several datasets as one: these, in the order of their items; see `core.data.joined`."""

    @property
    def name(self) -> str:
        """The card's short name."""
        return self.card.name

    @property
    def title(self) -> str:
        """The card's full name."""
        return self.card.title

    @property
    def rules(self) -> Rules:
        """The card's rules; the only place that says how long a history is."""
        return self.card.rules


@dataclass(frozen=True)
class Sample:
    """One question: after `history`, which of `candidates` comes next? (paper §4.1)"""

    user: str
    position: int
    """Index of the target in the user's kept sequence."""
    history: tuple[int, ...]
    """The last items before the target, oldest first, at most the rules' `max_history`."""
    target: int
    candidates: tuple[int, ...] = ()
    """The target and the sampled negatives, in a seeded order; empty for training samples, whose
    candidates are drawn when they are used."""
    pool: str = ""
    """What it is ranked among: empty for all items, `cold` for the cold ones alone."""

    @property
    def place(self) -> tuple[str, int]:
        """User and position: what this case is called everywhere."""
        return self.user, self.position


@dataclass(frozen=True)
class Moments:
    """Where in time a split cuts, in seconds since 1970."""

    validation: int
    """Training reads what is earlier."""
    test: int
    """Validation reads what is earlier; targets of test cases are of this time or later."""


@dataclass(frozen=True)
class Samples:
    """Everything a benchmark ranks, the same for every method and every training seed."""

    dataset: str
    split: str
    seed: int
    train: Sequence[Sample]
    validation: tuple[Sample, ...]
    test: Mapping[str, tuple[Sample, ...]]
    """Test-set name (`last`, `spread`, …) -> cases. One set may contain another's cases."""
    sha256: str
    """Checksum over the test samples; results with different checksums are never put in one table."""
    left_out: int = 0
    """Test users of the split who are not asked."""
    cold: frozenset[int] = frozenset()
    """Items that were drawn to be cold."""
    withheld: frozenset[int] = frozenset()
    """Items that training must not meet in any way: the cold ones, and under a split by time later ones."""
    moments: Moments | None = None
    """Where a split by time cuts."""
    untrained: int = 0
    """Training users of the split who do not train."""
    parts: tuple[Samples, ...] = ()
    """Of several datasets as one: the cases of each, called as they are there."""

    @property
    def asked(self) -> dict[tuple[str, int], Sample]:
        """The test cases by user and position; one that belongs to several test sets is there once.

        Those that are ranked among some items only are `apart`; each is here, too, ranked among all.
        """
        return {case.place: case for cases in self.test.values() for case in cases if not case.pool}

    @property
    def apart(self) -> list[Sample]:
        """The test cases that are ranked among some items only."""
        return [case for cases in self.test.values() for case in cases if case.pool]

    @property
    def questions(self) -> list[Sample]:
        """All that is asked, each once: a case that is ranked among two kinds of candidates is two."""
        return [*self.asked.values(), *self.apart]

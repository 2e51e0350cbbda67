"""Several datasets as one: catalogues and users side by side, each case among the items of its own dataset.

An item keeps its place within its dataset, counted on from the items of those before it. Users and items are
called by their dataset and their own name: `movielens:7`. Test cases and their candidates are those that each
dataset has alone, so that a method's figures on them can be held against a run on that dataset alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import overload

from core.data.cards import DatasetCard
from core.data.samples import TrainingSet, last_positions, longest_history
from core.data.types import Catalogue, Dataset, Sample, Samples, UserSequence

POOLED = ("spread", "last")
"""Test sets in the order of their worth: the first that a dataset has stands for it."""


def join_datasets(card: DatasetCard, parts: Sequence[Dataset]) -> Dataset:
    """One dataset of several; its `parts` are these."""
    return Dataset(
        card=card,
        catalogue=_catalogue(parts),
        sequences={
            called(part, user): UserSequence(
                called(part, user),
                sequence.items + start,
                sequence.timestamps,
                sequence.met + start,
            )
            for part, start in zip(parts, starts(parts), strict=True)
            for user, sequence in part.sequences.items()
        },
        parts=tuple(parts),
    )


def starts(parts: Sequence[Dataset]) -> list[int]:
    """Where each dataset's items begin in the catalogue of all."""
    return [0, *accumulate(len(part.catalogue) for part in parts)][:-1]


def called(part: Dataset, name: str) -> str:
    """What a dataset's user or item is called among those of several."""
    return f"{part.name}:{name}"


def _catalogue(parts: Sequence[Dataset]) -> Catalogue:
    """All items; a title that two datasets have is followed by the dataset's name."""
    counts = Counter(title for part in parts for title in part.catalogue.titles)
    return Catalogue(
        ids=tuple(called(part, item) for part in parts for item in part.catalogue.ids),
        titles=tuple(
            title if counts[title] == 1 else f"{title} [{part.name}]"
            for part in parts
            for title in part.catalogue.titles
        ),
        tags=tuple(tags for part in parts for tags in part.catalogue.tags),
        years=tuple(year for part in parts for year in part.catalogue.years),
        plain_titles=tuple(title for part in parts for title in part.catalogue.plain_titles),
    )


def join_samples(dataset: Dataset, parts: Sequence[Samples]) -> Samples:
    """The cases of several datasets as one.

    Returns:
        Training cases of each dataset alike often, all validation cases, and a test set for each dataset, of
        its cases of the first of `POOLED` that it has; before them one of all these cases.
    """
    own = {
        part.name: tuple(moved(case, part, start) for case in samples.test[_worth(samples)])
        for part, start, samples in zip(dataset.parts, starts(dataset.parts), parts, strict=True)
    }
    pooled = next(name for name in POOLED if any(name == _worth(samples) for samples in parts))
    sums = [[samples.dataset, samples.sha256] for samples in parts]
    return Samples(
        dataset=dataset.name,
        split=parts[0].split,
        seed=parts[0].seed,
        train=JoinedCases(dataset, [samples.train for samples in parts]),
        validation=tuple(
            moved(case, part, start)
            for part, start, samples in zip(dataset.parts, starts(dataset.parts), parts, strict=True)
            for case in samples.validation
        ),
        test={pooled: tuple(case for cases in own.values() for case in cases), **own},
        sha256=hashlib.sha256(repr(sums).encode()).hexdigest(),
        left_out=sum(samples.left_out for samples in parts),
        untrained=sum(samples.untrained for samples in parts),
        parts=tuple(parts),
        withheld=frozenset(
            item + start
            for start, samples in zip(starts(dataset.parts), parts, strict=True)
            for item in samples.withheld
        ),
    )


def _worth(samples: Samples) -> str:
    return next(name for name in POOLED if name in samples.test)


def moved(case: Sample, part: Dataset, start: int) -> Sample:
    """A dataset's case as it is among those of several."""
    return replace(
        case,
        user=called(part, case.user),
        history=tuple(item + start for item in case.history),
        target=case.target + start,
        candidates=tuple(item + start for item in case.candidates),
    )


class JoinedCases(TrainingSet):
    """Training cases of several datasets in turn, those of a smaller dataset again and again."""

    def __init__(self, dataset: Dataset, parts: Sequence[Sequence[Sample]]) -> None:
        self.parts = tuple(zip(dataset.parts, starts(dataset.parts), parts, strict=True))

    def __len__(self) -> int:
        sizes = [len(cases) for _, _, cases in self.parts]
        return len(sizes) * max(sizes) if all(sizes) else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        turn, which = divmod(index % len(self), len(self.parts))
        part, start, cases = self.parts[which]
        return moved(cases[turn % len(cases)], part, start)

    def __iter__(self) -> Iterator[Sample]:
        return (self[place] for place in range(len(self)))

    def last_positions(self) -> dict[str, int]:
        """User -> the last position among the cases."""
        return {
            called(part, user): position
            for part, _, cases in self.parts
            for user, position in last_positions(cases).items()
        }

    def longest_history(self) -> int:
        """Items that a history among the cases has at most."""
        return max(longest_history(cases) for _, _, cases in self.parts)

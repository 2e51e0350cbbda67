"""Turns positions into ranking cases: history, target and candidates, the same on every machine."""

from __future__ import annotations

import hashlib
import json
import operator
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, overload

from core.data.cards import DatasetCard, Rules
from core.data.cold import draw_cold
from core.data.split_checks import check_cold, check_filled, check_shortest
from core.data.splits import Places, Stretches, Wanted, check_split, divide
from core.data.temporal import items_of, moments_of
from core.data.types import COLD, Dataset, Place, Sample, Samples, UserSequence, pool_of
from core.errors import DataError, InputError

CANDIDATES = 20
"""Candidates per case, the target among them (paper §4.1)."""
_WORD = 1 << 32


def make_samples(
    dataset: Dataset,
    card: DatasetCard,
    split: str = "paper",
    seed: int = 0,
    spread_positions: int = 10,
    validation_positions: int = 3,
    test_users: int = 0,
    whole: bool = False,
    test_from: str = "0.9",
    cold_items: float = 0.0,
    min_history: int = 0,
    users: int = 0,
) -> Samples:
    """All cases of a dataset under one split.

    Args:
        dataset: what to divide.
        card: its rules and its split.
        split: `paper` (whole users are held out), `leave-one-out` or `temporal` (one moment for all users).
        seed: seed of the candidates and of the cold items; not the training seed.
        spread_positions: most test cases per user in the test set `spread`.
        validation_positions: most validation cases per user.
        test_users: most users tested, but for `leave-one-out`: those with the smallest SHA-256 of dataset and
            id; 0 for all.
        whole: whether test cases are ranked against the whole catalogue; their sampled candidates are drawn
            all the same, for whoever asks about twenty, but the checksum is another.
        test_from: under `temporal`, the share of all interactions that come before the test, or a date.
        cold_items: share of the items that training and validation never meet; their targets are the test
            sets `cold` and `cold-all`.
        min_history: histories of so many items up to the card's rule are asked as the set `short`; 0: none.
        users: most users who train, those with the smallest SHA-256 of dataset and id; 0 for all. Validation
            and test stay as they are.

    Returns:
        Training cases without candidates, validation and test cases with `CANDIDATES` of them.

    Raises:
        InputError: the split is unknown, or not possible with this card or data, or leaves nothing to train
            on, to validate or to test.
        DataError: a user of the split is not in the data, or has seen too much to draw candidates.
    """
    if dataset.parts:
        raise InputError(f"{dataset.name} is several datasets, divided each by itself", "name one of them")
    check_split(card, split)
    check_shortest(card, min_history)
    n_items = len(dataset.catalogue)
    cold = draw_cold(dataset.name, dataset.catalogue.ids, cold_items, seed)
    check_cold(cold_items, cold, n_items, CANDIDATES)
    moments = moments_of(dataset, test_from) if split == "temporal" else None
    wanted = Wanted(spread_positions, validation_positions, moments, cold, min_history)
    division = divide(dataset, card, split, wanted)
    held_out = {user for places in division.test.values() for user, _ in places}
    asked = _few(dataset.name, "test", held_out, test_users if split != "leave-one-out" else 0)
    trained = _few(dataset.name, "train", division.train.ranges, users)
    own = {name: [place for place in places if place[0] in asked] for name, places in division.test.items()}
    check_filled(division, own, dataset.name, wanted)
    everything = frozenset(range(n_items))
    apart = {COLD: everything - cold}
    test = {
        name: _cases(dataset, card.rules, places, seed, apart.get(pool_of(name), frozenset()), pool_of(name))
        for name, places in own.items()
    }
    later = (everything - items_of(division.trained)) if moments else cold
    unknown = (everything - items_of(division.validated)) if moments else cold
    return Samples(
        dataset=dataset.name,
        split=split,
        seed=seed,
        train=TrainingCases(division.trained, card.rules, division.train.of(trained)),
        validation=_cases(division.validated, card.rules, division.validation, seed, unknown),
        test=test,
        sha256=_checksum(dataset, split, seed, test, whole),
        left_out=len(held_out) - len(asked),
        untrained=len(division.train.ranges) - len(trained),
        cold=cold,
        withheld=later,
        moments=moments,
    )


def _few(dataset_name: str, part: str, users: Collection[str], most: int) -> frozenset[str]:
    """The users who test or train: all, or a draw that depends on their ids alone."""
    if not most:
        return frozenset(users)
    key = {user: hashlib.sha256(json.dumps([dataset_name, part, user]).encode()).digest() for user in users}
    return frozenset(sorted(users, key=key.__getitem__)[:most])


def draw_candidates(
    dataset_name: str,
    user_sequence: UserSequence,
    position: int,
    target: int,
    n_items: int,
    count: int = CANDIDATES,
    seed: int = 0,
    salt: str = "",
    withheld: AbstractSet[int] = frozenset(),
) -> tuple[int, ...]:
    """The target among `count - 1` different items that the user has never interacted with.

    Every such item is equally likely, and so is every place of the target. The outcome depends on the
    arguments alone: not on the machine, the library versions, or what was drawn before.

    Args:
        dataset_name: part of the seed.
        user_sequence: the user; `seen` is what must not be drawn.
        position: position of the target in the user's sequence, part of the seed.
        target: the item that is right.
        n_items: number of items in the catalogue.
        count: how many candidates, the target among them.
        seed: the samples' seed.
        salt: another draw for the same case, such as the epoch for training.
        withheld: items that are not drawn, whoever has seen them.

    Raises:
        DataError: fewer than `count - 1` items are left that the user has not seen.
    """
    excluded = user_sequence.seen | {target} | withheld
    left = n_items - len(excluded)
    if left < count - 1:
        raise DataError(
            f"user '{user_sequence.user}' of {dataset_name} has {left} unseen items, {count - 1} are needed",
            f"every candidate must be new to the user: ask for at most {left + 1} candidates",
        )
    stream = _numbers(json.dumps([dataset_name, user_sequence.user, position, seed, salt]))
    drawn: list[int] = []
    taken = set(excluded)
    while len(drawn) < count - 1:
        item = _below(n_items, stream)
        if item not in taken:
            taken.add(item)
            drawn.append(item)
    drawn.insert(_below(count, stream), target)
    return tuple(drawn)


def candidates_of(
    dataset: Dataset,
    user: str,
    position: int,
    target: int,
    count: int = CANDIDATES,
    seed: int = 0,
    salt: str = "",
) -> tuple[int, ...]:
    """The target among items that the user has never interacted with, all of the user's own dataset.

    See `draw_candidates`; of several datasets as one, a user's candidates are those of that dataset alone.
    """
    start = 0
    for part in dataset.parts:
        if user.startswith(f"{part.name}:"):
            own = user.removeprefix(f"{part.name}:")
            drawn = candidates_of(part, own, position, target - start, count, seed, salt)
            return tuple(item + start for item in drawn)
        start += len(part.catalogue)
    sequence, n_items = dataset.sequences[user], len(dataset.catalogue)
    return draw_candidates(dataset.name, sequence, position, target, n_items, count, seed, salt)


def training_candidates(
    dataset: Dataset, samples: Samples, case: Sample, count: int, seed: int, salt: str
) -> tuple[int, ...]:
    """The candidates of a training case, of items that training may meet, all of the user's own dataset."""
    start = 0
    for part, of_part in zip(dataset.parts, samples.parts, strict=True):
        if case.user.startswith(f"{part.name}:"):
            own = replace(case, user=case.user.removeprefix(f"{part.name}:"), target=case.target - start)
            drawn = training_candidates(part, of_part, own, count, seed, salt)
            return tuple(item + start for item in drawn)
        start += len(part.catalogue)
    sequence = trained_on(dataset, samples)[case.user]
    place = (dataset.name, sequence, case.position, case.target, len(dataset.catalogue))
    return draw_candidates(*place, count=count, seed=seed, salt=salt, withheld=samples.withheld)


def trained_on(dataset: Dataset, samples: Samples) -> Mapping[str, UserSequence]:
    """The sequences as training knows them: without what the split withholds."""
    known = samples.train.dataset if isinstance(samples.train, TrainingCases) else dataset
    return known.sequences


def history_of(sequence: UserSequence, position: int, rules: Rules) -> tuple[int, ...]:
    """The last items before `position`, oldest first, at most `rules.max_history`."""
    return tuple(sequence.items[max(0, position - rules.max_history) : position].tolist())


class TrainingSet(Sequence[Sample]):
    """Training cases that know what all of them together are like."""

    @abstractmethod
    def last_positions(self) -> dict[str, int]:
        """User -> the last position among the cases."""

    @abstractmethod
    def longest_history(self) -> int:
        """Items that a history among the cases has at most."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]


class TrainingCases(TrainingSet):
    """Training cases of a dataset, each made when it is asked for: there may be millions."""

    def __init__(self, dataset: Dataset, rules: Rules, places: Stretches) -> None:
        self.dataset, self.rules, self.places = dataset, rules, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        if isinstance(index, slice):
            return tuple(_case(self.dataset, self.rules, place) for place in self.places[index])
        return _case(self.dataset, self.rules, self.places[index])

    def __iter__(self) -> Iterator[Sample]:
        return (_case(self.dataset, self.rules, place) for place in self.places)

    def last_positions(self) -> dict[str, int]:
        """User -> the last position, in the dataset's order."""
        return {user: positions[-1] for user, positions in self.places.ranges.items()}

    def longest_history(self) -> int:
        """What the rules say."""
        return self.rules.max_history


def last_positions(cases: Sequence[Sample]) -> dict[str, int]:
    """User -> the last position among the cases, users in the order of their first case."""
    if isinstance(cases, TrainingSet):
        return cases.last_positions()
    last: dict[str, int] = {}
    for case in cases:
        last[case.user] = max(last.get(case.user, 0), case.position)
    return last


def longest_history(cases: Sequence[Sample]) -> int:
    """Items that a history among the cases has at most, at least 1."""
    if isinstance(cases, TrainingSet):
        return cases.longest_history()
    return max((len(case.history) for case in cases), default=1)


def user_parts(samples: Samples) -> dict[str, str]:
    """User -> test or validation; everyone else trains."""
    parts = {case.user: "validation" for case in samples.validation}
    parts |= {case.user: "test" for cases in samples.test.values() for case in cases}
    return parts


def _cases(
    dataset: Dataset,
    rules: Rules,
    places: Places,
    seed: int,
    withheld: AbstractSet[int] = frozenset(),
    pool: str = "",
) -> tuple[Sample, ...]:
    """Cases with candidates, none of them withheld, which come from a pool."""
    cases = []
    for user, position in places:
        case = _case(dataset, rules, (user, position))
        what = (dataset.name, dataset.sequences[user], position, case.target, len(dataset.catalogue))
        try:
            drawn = draw_candidates(*what, seed=seed, salt=pool, withheld=withheld)
        except DataError as error:
            if not pool:
                raise
            raise InputError(f"of the cold items, {error.title}", "give a larger --cold-items") from error
        cases.append(replace(case, candidates=drawn, pool=pool))
    return tuple(cases)


def _case(dataset: Dataset, rules: Rules, place: Place) -> Sample:
    user, position = place
    sequence = dataset.sequences[user]
    return Sample(user, position, history_of(sequence, position, rules), int(sequence.items[position]))


def _numbers(key: str) -> Iterator[int]:
    """An endless stream of 32-bit numbers: SHA-256 in counter mode."""
    root = hashlib.sha256(key.encode("utf-8"))
    counter = 0
    while True:
        block = root.copy()
        block.update(counter.to_bytes(8, "big"))
        digest = block.digest()
        yield from (int.from_bytes(digest[at : at + 4], "big") for at in range(0, len(digest), 4))
        counter += 1


def _below(bound: int, stream: Iterator[int]) -> int:
    """A number below `bound`, each equally likely: words past the last whole multiple are passed over."""
    limit = _WORD - _WORD % bound
    word = next(stream)
    while word >= limit:
        word = next(stream)
    return word % bound


def _checksum(
    dataset: Dataset, split: str, seed: int, test: Mapping[str, tuple[Sample, ...]], whole: bool
) -> str:
    """SHA-256 over the test cases, and the catalogue where they are ranked against it, as canonical JSON."""
    sets: dict[str, list[Any]] = {
        name: [[case.user, case.position, case.history, case.target, case.candidates] for case in cases]
        for name, cases in test.items()
    }
    content: dict[str, Any] = {"dataset": dataset.name, "split": split, "seed": seed, "sets": sets}
    if whole:
        content["catalogue"] = dataset.catalogue.ids
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def later_than_test(dataset: Dataset, samples: Samples) -> tuple[int, int] | None:
    """How many interactions training may read, and how many of them are later than the earliest test case.

    Returns:
        None without times, test cases or training.
    """
    if dataset.parts:
        pairs = zip(dataset.parts, samples.parts, strict=True)
        found = [one for one in (later_than_test(*pair) for pair in pairs) if one is not None]
        return (sum(all_of for all_of, _ in found), sum(later for _, later in found)) if found else None
    times = {user: sequence.timestamps for user, sequence in dataset.sequences.items()}
    targets = [int(times[user][position]) for user, position in samples.asked]
    known = trained_on(dataset, samples)
    trained = [known[user].timestamps[: end + 1] for user, end in last_positions(samples.train).items()]
    interactions = sum(map(len, trained))
    if not targets or not interactions or not any(of_user.any() for of_user in times.values()):
        return None
    return interactions, sum(int((of_user > min(targets)).sum()) for of_user in trained)

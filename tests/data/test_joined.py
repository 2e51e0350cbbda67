"""Several datasets as one: every case is one that its own dataset has, among items of that dataset."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from core.config.settings import DataConfig
from core.data.card_files import load_card, named_card
from core.data.joined import called, starts
from core.data.loading import load_task_data
from core.data.samples import candidates_of, last_positions, longest_history
from core.errors import InputError
from tests import tiny

BOTH = DataConfig(dataset="tiny+other", spread_positions=2, validation_positions=2)


@pytest.fixture(autouse=True)
def two_datasets(tiny_home: Path) -> None:
    tiny.install(tiny_home, tiny_home.parent / "mirror", name="other")


def test_items_and_users_stand_side_by_side() -> None:
    dataset, _ = load_task_data(BOTH)
    assert dataset.name == "tiny+other" and starts(dataset.parts) == [0, tiny.ITEMS]
    assert len(dataset.catalogue) == len(set(dataset.catalogue.ids)) == 2 * tiny.ITEMS
    assert len(set(dataset.catalogue.titles)) == 2 * tiny.ITEMS  # a title of both says whose it is
    for part, start in zip(dataset.parts, starts(dataset.parts), strict=True):
        for user, own in part.sequences.items():
            sequence = dataset.sequences[called(part, user)]
            assert (sequence.items - start).tolist() == own.items.tolist()
            assert {item - start for item in sequence.seen} == own.seen


def test_test_cases_are_those_that_each_dataset_has_alone() -> None:
    dataset, samples = load_task_data(BOTH)
    assert list(samples.test) == ["spread", "tiny", "other"]
    assert samples.test["spread"] == (*samples.test["tiny"], *samples.test["other"])
    for part, start in zip(dataset.parts, starts(dataset.parts), strict=True):
        _, alone = load_task_data(replace(BOTH, dataset=part.name))
        for case, own in zip(samples.test[part.name], alone.test["spread"], strict=True):
            assert (case.user, case.position) == (called(part, own.user), own.position)
            assert [item - start for item in case.candidates] == list(own.candidates)
            assert [item - start for item in case.history] == list(own.history)
            assert case.target - start == own.target
    assert len(samples.validation) == 2 * len(alone.validation)


def test_training_meets_each_dataset_alike_often_and_draws_within_it() -> None:
    dataset, samples = load_task_data(BOTH)
    few, whole = load_task_data(replace(BOTH, users=3))[1], len(samples.train)
    assert whole == len(list(samples.train)) and few.untrained == samples.parts[0].untrained + 2 * 20
    counts = Counter(case.user.split(":")[0] for case in samples.train)
    assert counts["tiny"] == counts["other"] == whole // 2
    for case in samples.train[:40]:
        drawn = candidates_of(dataset, case.user, case.position, case.target, salt="train-0")
        inside = range(tiny.ITEMS) if case.user.startswith("tiny:") else range(tiny.ITEMS, 2 * tiny.ITEMS)
        assert case.target in drawn and set(drawn) <= set(inside)
        assert not (set(drawn) - {case.target}) & dataset.sequences[case.user].seen
    last = last_positions(samples.train)
    assert last == {case.user: last[case.user] for case in samples.train}
    assert longest_history(samples.train) == 10
    with pytest.raises(IndexError):
        samples.train[whole]


def test_the_checksum_is_that_of_all_cases() -> None:
    sums = {
        load_task_data(replace(BOTH, **changed))[1].sha256  # type: ignore[arg-type]
        for changed in ({}, {"samples_seed": 1}, {"dataset": "other+tiny"}, {"dataset": "tiny"})
    }
    assert len(sums) == 4


def test_the_card_says_what_all_of_them_say() -> None:
    card = load_card("tiny+other")
    assert (card.title, card.noun) == ("Tiny + Tiny", "film")
    assert card.splits == ("paper", "leave-one-out", "temporal")
    assert card.licence.name == "CC0" and not card.reported
    assert named_card("tiny+other") == "tiny+other"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("tiny+tiny", "names a dataset twice"),
        ("tiny+nowhere", "nowhere"),
        ("tiny+", "no dataset's name"),
        ("../tiny+other", "no dataset's name"),
    ],
)
def test_what_cannot_be_joined_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_task_data(replace(BOTH, dataset=name))


def test_the_whole_catalogue_of_several_datasets_is_no_catalogue() -> None:
    with pytest.raises(InputError, match="no catalogue of their own"):
        replace(BOTH, candidates="catalogue")

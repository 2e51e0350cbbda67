"""The same cases for every method, on every machine."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.card_files import parse_card
from core.data.reading.interactions import build_dataset, parse_catalogue, parse_interactions
from core.data.samples import draw_candidates, make_samples
from core.data.types import UserSequence
from core.errors import DataError
from tests.data import made_up

CARD = parse_card(made_up.card(), "made-up.toml")
CATALOGUE = parse_catalogue(made_up.films(), CARD.sources[0].items, CARD.titles)
DATASET = build_dataset(
    CARD, CATALOGUE, parse_interactions(made_up.ratings(), CARD.sources[0].interactions, CATALOGUE)
)


def sequence(seen: set[int], user: str = "u") -> UserSequence:
    items = np.array(sorted(seen), np.int64)
    return UserSequence(user, items, np.zeros_like(items), np.array(sorted(seen), np.int64))


def test_cases_hold_history_target_and_unseen_candidates() -> None:
    samples = make_samples(DATASET, CARD, "leave-one-out")
    assert samples.train and samples.validation and samples.test["last"]
    for case in (*samples.train, *samples.validation, *samples.test["last"]):
        mine = DATASET.sequences[case.user]
        assert case.target == mine.items[case.position]
        assert case.history == tuple(mine.items[max(0, case.position - 10) : case.position])
        assert 3 <= len(case.history) <= 10
    for case in (*samples.validation, *samples.test["last"]):
        negatives = set(case.candidates) - {case.target}
        assert len(case.candidates) == 20 and len(negatives) == 19
        assert not negatives & DATASET.sequences[case.user].seen
    assert all(case.candidates == () for case in samples.train)


def test_the_last_cases_are_among_the_spread_ones() -> None:
    samples = make_samples(DATASET, CARD, "paper")
    assert set(samples.test["last"]) <= set(samples.test["spread"])
    held_out = {case.user for case in samples.test["spread"]}
    assert held_out <= {"2", "3"} and not held_out & {case.user for case in samples.train}


def test_candidates_are_pinned() -> None:
    drawn = draw_candidates("d", sequence({1, 2, 3}), 2, 3, 100, count=6, seed=0)
    assert drawn == (60, 3, 61, 81, 52, 44)


def test_every_part_of_the_seed_matters() -> None:
    mine = sequence({1, 2, 3})
    drawn = [
        draw_candidates("d", mine, 2, 3, 1000, seed=0),
        draw_candidates("e", mine, 2, 3, 1000, seed=0),
        draw_candidates("d", sequence({1, 2, 3}, "v"), 2, 3, 1000, seed=0),
        draw_candidates("d", mine, 1, 3, 1000, seed=0),
        draw_candidates("d", mine, 2, 3, 1000, seed=1),
        draw_candidates("d", mine, 2, 3, 1000, seed=0, salt="1"),
    ]
    assert len(set(drawn)) == len(drawn)


def test_items_and_places_are_equally_likely() -> None:
    mine = sequence({0, 1, 2})
    draws = [draw_candidates("d", mine, 0, 2, 23, count=11, seed=seed) for seed in range(4000)]
    places = Counter(drawn.index(2) for drawn in draws)
    items = Counter(item for drawn in draws for item in drawn if item != 2)
    assert set(items) == set(range(3, 23)) and set(places) == set(range(11))
    assert chi_square(places) < 30 and chi_square(items) < 44  # one in a thousand at 10 and 19 degrees


def chi_square(counts: Counter[int]) -> float:
    mean = sum(counts.values()) / len(counts)
    return sum((count - mean) ** 2 / mean for count in counts.values())


def test_too_few_unseen_items_are_refused_with_the_rule() -> None:
    with pytest.raises(DataError, match="has 5 unseen items, 19 are needed"):
        draw_candidates("d", sequence(set(range(95))), 0, 1, 100)
    assert sorted(draw_candidates("d", sequence(set(range(81))), 0, 80, 100)) == list(range(80, 100))


@given(st.sets(st.integers(0, 59), min_size=1, max_size=40), st.text(max_size=5), st.integers(0, 10**12))
def test_candidates_always_keep_their_contract(seen: set[int], user: str, seed: int) -> None:
    target = min(seen)
    drawn = draw_candidates("d", sequence(seen, user), 0, target, 60, seed=seed)
    assert len(drawn) == len(set(drawn)) == 20 and drawn.count(target) == 1
    assert not (set(drawn) - {target}) & seen and all(0 <= item < 60 for item in drawn)


def test_few_training_users_are_a_fixed_draw_and_leave_every_other_case_as_it_is() -> None:
    everybody = make_samples(DATASET, CARD)
    of = {users: {case.user for case in make_samples(DATASET, CARD, users=users).train} for users in (2, 4)}
    assert [len(users) for users in of.values()] == [2, 4] and of[2] < of[4]
    few = make_samples(DATASET, CARD, users=2)
    assert list(few.train) == [case for case in everybody.train if case.user in of[2]]
    assert few.untrained == len({case.user for case in everybody.train}) - 2
    assert (few.validation, few.test, few.sha256) == (everybody.validation, everybody.test, everybody.sha256)
    assert make_samples(DATASET, CARD, users=10**6) == everybody


def test_the_checksum_follows_the_cases() -> None:
    base = make_samples(DATASET, CARD)
    assert base == make_samples(DATASET, CARD)
    others = [
        make_samples(DATASET, CARD, seed=1),
        make_samples(DATASET, CARD, split="leave-one-out"),
        make_samples(DATASET, CARD, spread_positions=1),
    ]
    assert len({base.sha256, *(other.sha256 for other in others)}) == 4
    assert make_samples(DATASET, CARD, validation_positions=1).sha256 == base.sha256


def test_fewer_test_users_are_a_fixed_draw_with_all_their_cases_and_change_nothing_else() -> None:
    everybody = make_samples(DATASET, CARD)
    users = {case.user for case in everybody.test["last"]}
    few = make_samples(DATASET, CARD, test_users=len(users) - 1)
    asked = {case.user for case in few.test["last"]}
    assert len(asked) == len(users) - 1
    assert few.left_out == 1
    for name, cases in everybody.test.items():
        assert few.test[name] == tuple(case for case in cases if case.user in asked)
    assert (few.train, few.validation) == (everybody.train, everybody.validation)
    assert make_samples(DATASET, CARD, test_users=len(users)) == everybody
    alone = make_samples(DATASET, CARD, "leave-one-out", test_users=1)
    assert alone == make_samples(DATASET, CARD, "leave-one-out")

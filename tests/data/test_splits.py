"""Which positions train, validate and test."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.card_files import parse_card
from core.data.cards import PaperSplit
from core.data.reading.interactions import build_dataset, parse_catalogue, parse_interactions
from core.data.splits import Stretches, Wanted, divide, spread
from core.errors import DataError, InputError
from tests.data import made_up

CARD = parse_card(made_up.card(), "made-up.toml")
CATALOGUE = parse_catalogue(made_up.films(), CARD.sources[0].items, CARD.titles)


def rated(lengths: dict[str, int]) -> bytes:
    """Users with that many kept items each."""
    rows = [
        f"{user}\t{item}\t5\t{item}\n" for user, length in lengths.items() for item in range(1, length + 1)
    ]
    return "".join(rows).encode()


def division(lengths: dict[str, int], split: str, spread_positions: int = 4):  # type: ignore[no-untyped-def]
    interactions = parse_interactions(rated(lengths), CARD.sources[0].interactions, CATALOGUE)
    return divide(build_dataset(CARD, CATALOGUE, interactions), CARD, split, Wanted(spread_positions, 2))


def test_papers_split_holds_out_whole_users() -> None:
    made = division({"1": 5, "2": 14, "3": 4, "4": 9, "5": 3}, "paper")
    assert tuple(made.train) == (("1", 3), ("1", 4))
    assert made.validation == (("4", 3), ("4", 8))
    assert made.test["last"] == (("2", 13), ("3", 3))
    assert made.test["spread"] == (("2", 3), ("2", 6), ("2", 10), ("2", 13), ("3", 3))


def test_users_with_too_little_history_give_no_case() -> None:
    made = division({"1": 3, "2": 3, "3": 1, "4": 3}, "paper")
    assert tuple(made.train) == made.validation == made.test["last"] == made.test["spread"] == ()


def test_leave_one_out_takes_everyones_last_items() -> None:
    made = division({"1": 3, "2": 4, "3": 5, "4": 7}, "leave-one-out")
    assert made.test == {"last": (("2", 3), ("3", 4), ("4", 6))}
    assert made.validation == (("3", 3), ("4", 5))
    assert tuple(made.train) == (("4", 3), ("4", 4))


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(InputError, match="unknown split 'random'"):
        division({"1": 5, "2": 5, "3": 5, "4": 5}, "random")
    with pytest.raises(InputError, match="at least 1"):
        division({"1": 5, "2": 5, "3": 5, "4": 5}, "paper", spread_positions=0)
    with pytest.raises(DataError, match="lists user '4', who is not in the data"):
        division({"1": 5, "2": 5, "3": 5}, "paper")


def test_a_card_without_the_papers_users_has_no_paper_split() -> None:
    interactions = parse_interactions(rated({"1": 5}), CARD.sources[0].interactions, CATALOGUE)
    card = dataclasses.replace(CARD, split=None)
    with pytest.raises(InputError, match="unknown split 'paper'"):
        divide(build_dataset(card, CATALOGUE, interactions), card, "paper", Wanted())


def test_no_user_is_both_tested_and_validated_on() -> None:
    with pytest.raises(DataError):
        PaperSplit(("1", "2"), ("2",))


@given(st.integers(0, 10), st.integers(0, 400), st.integers(1, 12))
def test_spread_is_even_ordered_and_ends_at_the_last(first: int, last: int, count: int) -> None:
    positions = spread(first, last, count)
    assert len(positions) == max(0, min(count, last - first + 1))
    if positions:
        gaps = [late - early for early, late in itertools.pairwise(positions)]
        assert positions[-1] == last and positions[0] >= first
        assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1 and positions[0] == first)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6))
def test_stretches_are_a_sequence_of_their_places(bounds: list[tuple[int, int]]) -> None:
    ranges = {str(user): range(*pair) for user, pair in enumerate(bounds)}
    places = [(user, position) for user, positions in ranges.items() for position in positions]
    found = Stretches(ranges)
    assert list(found) == places and len(found) == len(places)
    assert [found[index] for index in range(-len(places), len(places))] == places * 2
    assert list(found[1:-1]) == places[1:-1]
    with pytest.raises(IndexError):
        found[len(places)]

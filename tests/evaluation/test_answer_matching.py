"""When a written answer counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.answer_matching import normalize, read_answer

FILMS = ("Alien", "Aliens", "The Fly", "Fargo", "E.T.", "M*A*S*H")


@pytest.mark.parametrize(
    "text", ["Fargo", " fargo ", "FARGO.", '"Fargo"', "“Fargo”", "Fargo!", "fargo\u00a0", "Ｆargo"]
)
def test_case_spacing_and_marks_around_a_title_do_not_matter(text: str) -> None:
    found = read_answer(text, FILMS)
    assert found.valid
    assert found.choice == 3


@pytest.mark.parametrize(
    "text", ["", " ", ".", "Farg", "Fargo 2", "I recommend Fargo", "Fargo or Alien", "The", "unknown"]
)
def test_anything_but_a_title_is_not_valid(text: str) -> None:
    found = read_answer(text, FILMS)
    assert not found.valid
    assert found.choice is None


def test_a_title_that_is_part_of_another_is_told_apart_by_the_exact_rule_only() -> None:
    """The official code finds both titles in the longer answer and throws it away."""
    shorter, longer = read_answer("Alien", FILMS), read_answer("Aliens", FILMS)
    assert (shorter.choice, longer.choice) == (0, 1)
    assert (shorter.substring_choice, longer.substring_choice) == (0, None)


def test_a_sentence_counts_by_the_substring_rule_only() -> None:
    found = read_answer("They should watch The Fly next", FILMS)
    assert not found.valid
    assert found.substring_choice == 2


def test_an_empty_title_is_nobodys_answer() -> None:
    """It would be a part of every answer."""
    for text in ("", "Fargo", "anything"):
        found = read_answer(text, ("", " ", "Fargo"))
        assert found.choice == found.substring_choice == (2 if text == "Fargo" else None)


def test_an_answer_that_names_two_candidates_alike_is_valid_and_chooses_neither() -> None:
    found = read_answer("Fargo", ("Fargo", "FARGO", "Alien"))
    assert found.valid
    assert found.choice is None


def test_titles_of_marks_alone_are_told_from_nothing() -> None:
    assert normalize("...") == "..."
    assert read_answer("...", ("...", "Fargo")).choice == 0
    assert read_answer("E.T", FILMS).choice == read_answer("E.T.", FILMS).choice == 4


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6), st.text())
def test_whatever_the_titles_a_title_is_valid_and_a_hit_is_never_invalid(
    titles: list[str], text: str
) -> None:
    for place, title in enumerate(titles):
        found = read_answer(title, titles)
        assert found.valid == bool(title.split())
        assert found.choice in (None, place)
    found = read_answer(text, titles)
    assert found.valid or found.choice is None

"""What a language model is told of an item says what was asked for, once, and nothing that is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.config.choices import ITEM_TEXTS
from core.config.settings import ModelConfig
from core.data.item_texts import item_texts
from core.data.types import Catalogue
from core.errors import InputError

CATALOGUE = Catalogue(
    ids=("1", "2", "3"),
    titles=("Heat", "Ulee's Gold (1997) [297]", "Unknown film (267)"),
    tags=(("Action", "Crime"), ("Drama",), ()),
    years=("1995", "1997", ""),
    plain_titles=("Heat", "Ulee's Gold", "Unknown film"),
)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("title", "Heat", "Ulee's Gold (1997) [297]"),
        ("title+year", "Heat (1995)", "Ulee's Gold (1997) [297]"),
        ("title+genres", "Heat, Action, Crime", "Ulee's Gold (1997) [297], Drama"),
        ("title+year+genres", "Heat (1995), Action, Crime", "Ulee's Gold (1997) [297], Drama"),
    ],
)
def test_a_text_holds_what_is_asked_for_and_a_year_once(kind: str, first: str, second: str) -> None:
    assert item_texts(CATALOGUE, kind) == (first, second, "Unknown film (267)")


def test_every_text_begins_with_the_title() -> None:
    for kind in ITEM_TEXTS:
        pairs = zip(item_texts(CATALOGUE, kind), CATALOGUE.titles, strict=True)
        assert all(text.startswith(title) for text, title in pairs)


def test_what_no_item_has_cannot_be_said() -> None:
    with pytest.raises(InputError, match="no item of this dataset has a year"):
        item_texts(replace(CATALOGUE, years=("", "", "")), "title+year")
    with pytest.raises(InputError, match="no item of this dataset has genres"):
        item_texts(replace(CATALOGUE, tags=((), (), ())), "title+genres")


def test_another_kind_of_text_is_refused() -> None:
    with pytest.raises(InputError, match="unknown item text: genres"):
        ModelConfig(item_text="genres")

"""What a language model is told of an item: its title, or more of what the catalogue knows."""

from __future__ import annotations

from core.data.types import Catalogue
from core.errors import InputError

_PARTS = {"year": "years", "genres": "tags"}
"""What may follow the title, and the part of the catalogue that holds it."""


def item_texts(catalogue: Catalogue, kind: str) -> tuple[str, ...]:
    """The text of each item, such as "Heat", "Heat (1995)" or "Heat (1995), Action, Crime".

    An item without a year or without genres goes without; a year that the title ends in is not said twice.

    Args:
        catalogue: titles, years and tags.
        kind: one of `core.config.choices.ITEM_TEXTS`.

    Raises:
        InputError: no item of the catalogue has what is asked for.
    """
    wanted = kind.split("+")[1:]
    for part in wanted:
        if not any(getattr(catalogue, _PARTS[part])):
            raise InputError(f"no item of this dataset has {_words(part)}", "use --item-text title")
    texts = list(catalogue.titles)
    if "year" in wanted:
        texts = [_dated(text, year) for text, year in zip(texts, catalogue.years, strict=True)]
    if "genres" in wanted:
        texts = [", ".join((text, *tags)) for text, tags in zip(texts, catalogue.tags, strict=True)]
    return tuple(texts)


def _dated(title: str, year: str) -> str:
    return f"{title} ({year})" if year and f"({year})" not in title else title


def _words(part: str) -> str:
    return "a year" if part == "year" else "genres or tags"

"""Turns catalogue titles into what a person would say, each of them unique."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_ARTICLES = (
    "A|An|The"  # English
    "|Le|La|Les|L'|Un|Une"  # French
    "|Il|Lo|Gli"  # Italian
    "|El|Los|Las"  # Spanish
    "|Der|Die|Das|Ein|Eine"  # German
    "|O|Os"  # Portuguese
    "|Det|Den|De|Het"  # Scandinavian and Dutch
)
_TRAILING = re.compile(f"(?P<rest>.+), (?P<article>{_ARTICLES})")
_YEAR = re.compile(r"(?P<rest>.*\S)\s*\((?P<year>\d{4})\)(?:\s*\([A-Z]+\))?")
_BRACKETS = re.compile(r"\(([^()]*)\)")


def split_year(title: str) -> tuple[str, str]:
    """Title and year of "Toy Story (1995)"; the year is empty where there is none.

    A mark after the year, such as "(V)" for a video, is dropped.
    """
    match = _YEAR.fullmatch(title.strip())
    return (match["rest"], match["year"]) if match else (title.strip(), "")


def restore_article(title: str) -> str:
    """ "American in Paris, An" as "An American in Paris", also within brackets.

    Only an article at the very end moves: "Cry, the Beloved Country" stays.
    """
    return _front(_BRACKETS.sub(lambda match: f"({_front(match[1])})", title))


def _front(title: str) -> str:
    main, bracket, alternates = title.partition(" (")
    match = _TRAILING.fullmatch(main)
    if match is None:
        return title
    gap = "" if match["article"].endswith("'") else " "
    return f"{match['article']}{gap}{match['rest']}{bracket}{alternates}"


def make_unique(titles: Sequence[str], years: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Titles with the year added where two items share one, and the id where that is not enough.

    Titles are compared without regard to capitals, since people and models do not keep them apart either.
    """
    shared = _shared(titles)
    dated = [
        f"{title} ({year})" if year and title.casefold() in shared else title
        for title, year in zip(titles, years, strict=True)
    ]
    shared = _shared(dated)
    unique = [
        f"{title} [{item}]" if title.casefold() in shared else title
        for title, item in zip(dated, ids, strict=True)
    ]
    while shared := _shared(unique):  # a title that looks like another one with its id
        unique = [
            f"{title} #{place}" if title.casefold() in shared else title
            for place, title in enumerate(unique, start=1)
        ]
    return tuple(unique)


def _shared(titles: Sequence[str]) -> set[str]:
    counts = Counter(title.casefold() for title in titles)
    return {title for title, count in counts.items() if count > 1}

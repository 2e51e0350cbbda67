"""When a written answer counts: by the exact title, and by the rule that published figures were made with."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MARKS = "\"'“”‘’`«».,;:!? "
"""What may stand around a title without being part of the answer."""


@dataclass(frozen=True)
class WrittenAnswer:
    """What a method wrote, and which candidate that is."""

    text: str
    valid: bool
    """Whether the text is a candidate's title, but for case, spacing and punctuation around it."""
    choice: int | None
    """The candidate it names, by its place; None if it names none, or several that are written alike."""
    substring_choice: int | None
    """The candidate by the official code's rule: the only one whose title occurs in the text."""


def read_answer(text: str, titles: Sequence[str]) -> WrittenAnswer:
    """Reads an answer against the candidates' titles.

    Args:
        text: what was written.
        titles: the candidates, as they were shown.
    """
    said = normalize(text)
    named = [place for place, title in enumerate(titles) if said and normalize(title) == said]
    within = [place for place, title in enumerate(titles) if _occurs(title, text)]
    return WrittenAnswer(
        text=text,
        valid=bool(named),
        choice=named[0] if len(named) == 1 else None,
        substring_choice=within[0] if len(within) == 1 else None,
    )


def normalize(text: str) -> str:
    """A title without what people and models write differently: case, spacing, marks around it.

    A title of nothing but marks stays as it is, for the empty text must be nobody's title.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return plain.strip(MARKS) or plain


def _occurs(title: str, text: str) -> bool:
    """The official test, which an empty title must not pass."""
    name = title.strip().lower()
    return bool(name) and name in text.strip().lower()

"""A table of interactions as columns, and how parts of it that were read one by one become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.data.reading.codes import Coded, Ints
from core.data.reading.lines import BrokenLine, broken

Kind = TypeVar("Kind", bound=np.generic)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """A table of interactions in file order."""

    file: str
    users: Coded
    items: Coded
    ratings: Floats  # (lines,) NaN where the source has none
    timestamps: Ints  # (lines,) seconds since 1970; zeros where the source has none
    first: int = 1
    """Number of the first line with data, for messages."""
    word: str = "line"
    """What one entry is called in messages."""
    lines: Ints | None = None  # (lines,)
    """Number of each line with data, where they do not follow each other."""

    def __len__(self) -> int:
        return len(self.timestamps)

    def broken(self, row: int, problem: str, about: str = "") -> BrokenLine:
        """The error to raise about an entry."""
        line = self.first + row if self.lines is None else int(self.lines[row])
        return broken(self.file, line, problem, self.word, about)


def joined(parts: Iterable[Columns]) -> Columns | None:
    """Parts of a table that follow each other as one; None where there are none.

    Ids are kept once, and codes in 32 bits until all are there: of ten million lines all else is counted
    in hundreds of megabytes.
    """
    first: Columns | None = None
    users, items = _Joined(), _Joined()
    ratings: list[Floats] = []
    times: list[Ints] = []
    lines: list[Ints] = []
    for part in parts:
        first = first or part
        users.add(part.users)
        items.add(part.items)
        ratings.append(part.ratings)
        times.append(part.timestamps)
        if part.lines is not None:
            lines.append(part.lines)
    if first is None:
        return None
    start, numbers = first.first, _whole(lines) if lines else None
    if numbers is not None and len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
        start, numbers = int(numbers[0]), None
    return Columns(
        first.file,
        users.whole(),
        items.whole(),
        _whole(ratings),
        _whole(times),
        start,
        first.word,
        numbers,
    )


class _Joined:
    """A column of ids whose parts come one by one."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.codes: list[npt.NDArray[np.int32]] = []

    def add(self, part: Coded) -> None:
        places = self.places
        known = np.array([places.setdefault(text, len(places)) for text in part.ids], np.int32)
        self.codes.append(known[part.codes])

    def whole(self) -> Coded:
        codes = _whole(self.codes)
        return Coded(tuple(self.places), codes.astype(np.int64))


def _whole(parts: list[npt.NDArray[Kind]]) -> npt.NDArray[Kind]:
    """All parts as one; they are let go on the way, so that memory holds them about once."""
    whole = np.empty(sum(map(len, parts)), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole

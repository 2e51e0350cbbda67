"""Reads impressions as MIND publishes them: what was clicked before, what was shown, what was clicked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.data.reading.codes import Coded, Ints
from core.data.reading.lines import Lines, short, trimmed, utf8
from core.data.reading.pieces import Columns, joined
from core.data.tables import InteractionsTable

_SHOWN = re.compile(r"\S+-[01]")
_BLOCK = 1 << 24  # bytes read together


@dataclass(frozen=True)
class _First:
    """A user's first impression."""

    second: int
    line: int
    history: str


def is_shown(text: str) -> bool:
    """Whether a field lists shown items, each with `-1` where it was clicked and `-0` where not."""
    return bool(text.strip()) and all(map(_SHOWN.fullmatch, text.split()))


def read_clicks(content: bytes, table: InteractionsTable) -> Columns:
    """One entry per click, those of the histories first.

    A user's history is taken from his or her first impression, and its clicks have that moment.

    Raises:
        DataError: names the file and the line.
    """
    first: dict[str, _First] = {}
    clicks = [_clicked(lines, table, first) for lines in _parts(content, table)]
    histories = _Clicks()
    for user, one in first.items():
        histories.add(user, one.history.split(), one.second, one.line)
    found = joined([histories.columns(table.file), *clicks])
    assert found is not None
    return found


def _parts(content: bytes, table: InteractionsTable) -> Iterator[Lines]:
    """The file's lines, some thousands at a time; all of them where records may differ from lines."""
    text = trimmed(utf8(content, table))
    plain = dataclasses.replace(table, encoding="utf-8")
    start, before = 0, 0
    while start < len(text):
        end = text.find(b"\n", start + _BLOCK) + 1 or len(text)
        part = text if table.header or table.quoted else text[start:end]
        yield Lines(part, plain, before)
        start, before = start + len(part), before + part.count(b"\n")


def _clicked(lines: Lines, table: InteractionsTable, first: dict[str, _First]) -> Columns:
    """The clicks of some lines; notes each user's first impression so far."""
    assert table.timestamp is not None
    users, shown = lines.texts("user", table.user), lines.texts("item", table.item)
    seconds = lines.times("timestamp", table.timestamp, table.time_format).tolist()
    before = [""] * len(users) if table.history is None else lines.texts("history", table.history, empty=True)
    found = _Clicks()
    for row, user in enumerate(users):
        if not is_shown(shown[row]):
            raise lines.broken(
                row, f"{short(shown[row])} is no list of shown items, each with -0 or -1", "id"
            )
        if user not in first or seconds[row] < first[user].second:
            first[user] = _First(seconds[row], lines.lines[row], before[row])
        clicked = [item[:-2] for item in shown[row].split() if item.endswith("-1")]
        found.add(user, clicked, seconds[row], lines.lines[row])
    return found.columns(table.file)


class _Clicks:
    """Clicks as they come, users and items as places among the different ones."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.rows: list[tuple[int, int, int]] = []
        """User, second and line of each group of clicks."""
        self.clicked: list[int] = []
        self.counts: list[int] = []

    def add(self, user: str, items: list[str], second: int, line: int) -> None:
        """Appends the clicks of one line."""
        self.rows.append((self.users.setdefault(user, len(self.users)), second, line))
        self.clicked += [self.items.setdefault(item, len(self.items)) for item in items]
        self.counts.append(len(items))

    def columns(self, file: str) -> Columns:
        """All of them."""
        of_rows: Ints = np.array(self.rows, np.int64).reshape(-1, 3)
        each = np.repeat(of_rows, self.counts, axis=0)
        return Columns(
            file=file,
            users=Coded(tuple(self.users), each[:, 0]),
            items=Coded(tuple(self.items), np.array(self.clicked, np.int64)),
            ratings=np.full(len(each), np.nan),
            timestamps=each[:, 1],
            lines=each[:, 2],
        )

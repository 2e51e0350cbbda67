"""Rebuilds users' sequences from published windows: what a user had met, and what came next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from core.data.cards import DatasetCard
from core.data.reading.lines import broken
from core.data.reading.pickles import read_frame
from core.data.tables import WindowsTable
from core.errors import DataError

COLUMNS = ("seq", "len_seq", "next")


@dataclass(frozen=True)
class Windows:
    """The users of published windows, each with the ids of what is known of them, oldest first."""

    train: tuple[tuple[str, ...], ...]
    """Whole sequences: every item of a training user."""
    validation: tuple[tuple[str, ...], ...]
    """A window each: at most ten items, then the target."""
    test: tuple[tuple[str, ...], ...]
    """The same, to test on."""
    train_rows: int
    """Windows in the training file."""

    @property
    def users(self) -> dict[str, tuple[str, ...]]:
        """User id -> items; training users are numbered, the others named after their file and place."""
        return {
            **{str(place): items for place, items in enumerate(self.train, start=1)},
            **{f"validation-{place}": items for place, items in enumerate(self.validation, start=1)},
            **{f"test-{place}": items for place, items in enumerate(self.test, start=1)},
        }


def read_windows(contents: Mapping[str, bytes], table: WindowsTable) -> Windows:
    """The users of the three files.

    Raises:
        DataError: a file is no pickled table, or a row contradicts the one before it; names file and row.
    """
    rows = _rows(contents[table.train], table.train, table.padding)
    return Windows(
        train=_whole(rows, table.train),
        validation=_single(contents[table.validation], table.validation, table.padding),
        test=_single(contents[table.test], table.test, table.padding),
        train_rows=len(rows),
    )


def check_counts(card: DatasetCard, windows: Windows) -> None:
    """Refuses windows of another number than the card expects.

    Raises:
        DataError: names the count.
    """
    found = {
        "train_users": len(windows.train),
        "train_windows": windows.train_rows,
        "validation_windows": len(windows.validation),
        "test_windows": len(windows.test),
    }
    for name, value in found.items():
        due = getattr(card.expected, name)
        if due is not None and value != due:
            raise DataError(
                f"{card.name}: {name} is {value}, and the card expects {due}",
                "the files are cut off or of another version; or the card's [expected] is wrong",
            )


def _rows(content: bytes, file: str, padding: int) -> list[list[str]]:
    """History and target of every row, without padding."""
    frame = read_frame(content, file, COLUMNS)
    rows = []
    for row, (seq, length, target) in enumerate(frame.itertuples(index=False), start=1):
        if not isinstance(seq, (list, tuple)) or not isinstance(length, int) or not 1 <= length <= len(seq):
            raise broken(file, row, "not a window of at least one place and its length", "row")
        ids = [_item(entry) for entry in (*seq, target)]
        if None in ids or ids[-1] == padding:
            raise broken(file, row, "an item that is not a whole number", "row")
        history = [entry for entry in ids[:length] if entry != padding]
        whole = len(history) == length or (not history and length == 1)
        if not whole or any(entry != padding for entry in ids[length:-1]):
            raise broken(file, row, "padding in the middle of a window", "row")
        rows.append([*map(str, history), str(ids[-1])])
    return rows


def _item(entry: Any) -> int | None:
    """An item's id; some files pair it with a rating."""
    item = entry[0] if isinstance(entry, (list, tuple)) and len(entry) == 2 else entry
    return item if type(item) is int and item >= 0 else None


def _whole(rows: Sequence[list[str]], file: str) -> tuple[tuple[str, ...], ...]:
    """Training users: a new one starts with a row without history, each further row adds its target."""
    starts = [place for place, row in enumerate(rows) if len(row) == 1]
    if not starts or starts[0] != 0:
        raise broken(file, 1, "the first window has a history, so its user began before the file", "row")
    users = []
    for first, end in pairwise([*starts, len(rows)]):
        items = tuple(row[-1] for row in rows[first:end])
        for place, row in enumerate(rows[first:end]):
            if tuple(row[:-1]) != items[max(0, place - 10) : place]:
                raise broken(file, first + place + 1, "its history is not what the rows before it say", "row")
        users.append(items)
    return tuple(users)


def _single(content: bytes, file: str, padding: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row) for row in _rows(content, file, padding))

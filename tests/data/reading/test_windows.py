"""Published windows become the sequences they were cut from, and nothing is added to them."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.reading.windows import Windows, read_windows
from core.data.tables import WindowsTable
from core.errors import DataError

PADDING = 99
TABLE = WindowsTable("train.df", "validation.df", "test.df", PADDING)
Row = tuple[list[int], int, int]


def row(items: list[int]) -> Row:
    """The window that asks for the last of these items."""
    history = items[:-1][-10:]
    return history + [PADDING] * (10 - len(history)), max(1, len(history)), items[-1]


def pickled(rows: list[Row]) -> bytes:
    seq, length, target = zip(*rows, strict=True)
    series = {"seq": pd.Series(list(seq), dtype=object), "len_seq": list(length), "next": list(target)}
    frame = pd.DataFrame(series)
    frame.columns = frame.columns.astype(object)  # as pickled by any pandas
    return pickle.dumps(frame, protocol=4)


def windows_of(sequences: list[list[int]]) -> list[Row]:
    return [row(items[:end]) for items in sequences for end in range(1, len(items) + 1)]


def read(train: list[Row], validation: list[Row], test: list[Row]) -> Windows:
    contents = {"train.df": pickled(train), "validation.df": pickled(validation), "test.df": pickled(test)}
    return read_windows(contents, TABLE)


SEQUENCES = st.lists(st.lists(st.integers(0, 98), min_size=1, max_size=25), min_size=1, max_size=5)


@settings(deadline=None, max_examples=40)
@given(SEQUENCES)
def test_sequences_come_back_from_their_windows(sequences: list[list[int]]) -> None:
    found = read(windows_of(sequences), [row([1, 2, 3, 4])], [row(list(range(30)))])
    assert [list(map(int, items)) for items in found.train] == sequences
    assert found.train_rows == sum(map(len, sequences))
    assert found.validation == (("1", "2", "3", "4"),)
    assert list(map(int, found.test[0])) == list(range(19, 30))
    assert list(found.users)[-2:] == ["validation-1", "test-1"]


WINDOW = row([1, 2, 3, 4])


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ([row([1, 2])], "row 1: the first window has a history"),
        ([row([1]), row([2, 3])], "row 2: its history is not what the rows before it say"),
        ([row([1]), ([1, PADDING, 2, PADDING], 3, 5)], "row 2: padding in the middle"),
        ([([PADDING] * 10, 1, PADDING)], "row 1: an item that is not a whole number"),
        ([([PADDING] * 10, 11, 3)], "row 1: not a window"),
    ],
)
def test_windows_that_contradict_each_other_are_refused_with_file_and_row(
    train: list[Row], words: str
) -> None:
    with pytest.raises(DataError, match=f"train.df, {words}"):
        read(train, [WINDOW], [WINDOW])

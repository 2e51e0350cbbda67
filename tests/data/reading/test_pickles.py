"""Only tables come out of a pickle: nothing in it is ever run."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.data.reading.pickles import ALLOWED, read_frame
from core.errors import DataError

FRAME = pd.DataFrame({"seq": [[1, 2], [3, 4]], "next": [5, 6], "name": pd.Series(["a", "b"], dtype=object)})
FRAME.columns = FRAME.columns.astype(object)  # as pickled by any pandas
PICKLE = pickle.dumps(FRAME[["seq", "next"]], protocol=4)


def refused(content: bytes, columns: tuple[str, ...] = ("seq", "next")) -> str:
    with pytest.raises(DataError) as caught:
        read_frame(content, "windows.df", columns)
    assert caught.value.title.startswith("windows.df") and "\n" not in caught.value.title
    assert caught.value.hint
    return caught.value.title


def test_a_pickled_table_is_read() -> None:
    frame = read_frame(PICKLE, "windows.df", ("next", "seq"))
    assert frame["seq"].tolist() == [[1, 2], [3, 4]] and frame["next"].tolist() == [5, 6]


class Malicious:
    """Runs a shell command when a pickle of it is loaded by anything less careful."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_malicious_pickle_is_refused_in_one_line_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    for content in (Malicious(trap), [FRAME, Malicious(trap)], {"seq": Malicious(trap)}):
        assert "refused: it wants to call posix.system" in refused(pickle.dumps(content))
    assert not trap.exists()
    pickle.loads(pickle.dumps(Malicious(trap)))
    assert trap.exists()  # the trap itself works


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.getattr",
        "os.system",
        "pandas.read_pickle",
        "numpy.load",
        "pandas.eval",
        "pickle.loads",
    ],
)
def test_no_other_name_is_looked_up(name: str) -> None:
    module, _, function = name.rpartition(".")
    assert (module, function) not in ALLOWED
    assert f"refused: it wants to call {name}" in refused(f"c{module}\n{function}\n.".encode())


def test_what_is_no_table_or_lacks_a_column_is_refused() -> None:
    assert "holds dict" in refused(pickle.dumps({"seq": 1}))
    assert "no column 'len_seq'" in refused(PICKLE, ("seq", "len_seq"))
    assert "has no rows" in refused(pickle.dumps(FRAME[["seq", "next"]].iloc[:0], protocol=4))
    assert "not a pickled table" in refused(b"")


@settings(deadline=None)
@given(st.integers(0, len(PICKLE)), st.integers(0, 40), st.binary(max_size=8))
@example(len(PICKLE) - 1, 5, b"")
def test_any_edited_pickle_is_read_or_refused(at: int, cut: int, inserted: bytes) -> None:
    content = PICKLE[:at] + inserted + PICKLE[at + cut :]
    try:
        frame = read_frame(content, "windows.df", ("seq", "next"))
    except DataError as error:
        assert error.title.startswith("windows.df") and error.hint
        return
    assert list(frame.columns) == ["seq", "next"] and len(frame) > 0


# --- forged parts ----------------------------------------------------------------------------------------


def name(module: str, function: str) -> bytes:
    parts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, function))
    return parts + b"\x93"


def word(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def dtype(code: str) -> bytes:
    return name("numpy", "dtype") + word(code) + b"\x85R"


EMPTY = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
POINTER = b"C\x08" + struct.pack("<Q", 0x4141414141414141)
FIELDS = b"}" + word("a") + dtype("O8") + b"K\x00\x86s"


@pytest.mark.parametrize(
    "array",
    [
        name("numpy", "ndarray") + b"(K\x01\x85" + dtype("O") + POINTER + b"tR",
        name("numpy", "ndarray") + b"K\x01\x85" + b"\x81",
        name("numpy.core.numeric", "_frombuffer")
        + b"("
        + POINTER
        + dtype("O")
        + b"K\x01\x85"
        + word("C")
        + b"tR",
        EMPTY + b"(K\x01K\x01\x85" + dtype("O") + b"\x89" + POINTER + b"tb",
        EMPTY + b"(K\x01J\xff\xff\xff\x7f\x85" + dtype("i8") + b"\x89C\x00tb",
        EMPTY + b"(K\x01J\xff\xff\xff\x7f\x85" + dtype("S0") + b"\x89C\x00tb",
        EMPTY + b"(K\x01K\x01\x85" + dtype("V8") + b"\x89" + POINTER + b"tb",
        EMPTY
        + b"(K\x01K\x01\x85"
        + dtype("i8")
        + b"(K\x03"
        + word("|")
        + b"N"
        + word("a")
        + b"\x85"
        + FIELDS
        + b"K\x08K\x01K\x00tb\x89"
        + POINTER
        + b"tb",
        name("numpy.core.multiarray", "_reconstruct")
        + name("numpy", "ndarray")
        + b"J\xff\xff\xff\x7f\x85C\x01O\x87R",
    ],
)
def test_a_forged_array_is_refused_before_anything_looks_into_it(array: bytes) -> None:
    made = b"\x80\x04" + name("pandas", "DataFrame") + b"}(" + word("seq") + array + b"u\x85R."
    assert "refused" in refused(made) or "not a pickled table" in refused(made)


def table(rows: bytes, values: bytes, places: bytes = b"K\x00K\x01K\x01\x87R") -> bytes:
    """A table of one column `seq`, with this index and these values."""
    block = name("pandas._libs.internals", "_unpickle_block") + values + name("builtins", "slice")
    block += places + b"K\x02\x87R"
    labels = EMPTY + b"(K\x01K\x01\x85" + dtype("O") + b"\x89]" + word("seq") + b"atb"
    index = name("pandas.core.indexes.base", "_new_Index")
    columns = index + name("pandas", "Index") + b"}(" + word("data") + labels + b"u\x86R"
    side = index + name("pandas", "RangeIndex") + b"}(" + rows + b"u\x86R"
    manager = name("pandas.core.internals.managers", "BlockManager")
    manager += block + b"\x85" + b"](" + columns + side + b"e\x86R"
    return b"\x80\x04" + name("pandas", "DataFrame") + b")\x81}" + word("_mgr") + manager + b"sb."


def reach(stop: int) -> bytes:
    return word("start") + b"K\x00" + word("stop") + b"J" + struct.pack("<i", stop) + word("step") + b"K\x01"


ONE = EMPTY + b"(K\x01K\x01K\x01\x86" + dtype("O") + b"\x89]" + word("x") + b"atb"


def test_an_index_of_more_rows_than_there_are_makes_none() -> None:
    assert read_frame(table(reach(1), ONE), "windows.df", ("seq",))["seq"].tolist() == ["x"]
    assert "not a whole table" in refused(table(reach(10_000_000), ONE), ("seq",))
    assert "not a whole table" in refused(table(reach(1), ONE, b"K\x00K\x00K\x01\x87R"), ("seq",))


def test_lists_that_unfold_without_end_are_refused() -> None:
    nested: list[object] = ["x"] * 2000
    for _ in range(2):
        nested = [nested] * 2000
    frame = pd.DataFrame({"seq": [nested], "next": [1]})
    frame.columns = frame.columns.astype(object)
    assert "unfolds without end" in refused(pickle.dumps(frame, protocol=4))
    frame = pd.DataFrame({"seq": [{"a": 1}], "next": [1]})
    frame.columns = frame.columns.astype(object)
    assert "no plain text, number or list" in refused(pickle.dumps(frame, protocol=4))


@pytest.mark.parametrize(
    "content", [b"Nr\xff\xff\xff\x7f.", b"\x80\x05\x96\xff\xff\xff\x7f\0\0\0\0.", b"\x82\x01.", b"Pid\n."]
)
def test_operations_that_reach_beyond_the_file_are_refused(content: bytes) -> None:
    assert "refused" in refused(content) or "not a pickled table" in refused(content)

"""Only tables come out of a pickle: nothing in it is ever run."""

from __future__ import annotations

import os
import pickle
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

"""Whatever lies in a CSV, JSON, parquet or pickle file: it is added, or refused in one line."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.data.own.adding import add_dataset, remove_dataset
from core.data.own.guessing import guess
from core.errors import IloraError
from tests.data.own.acts import ITEMS, TIMED, TITLED, acts

pytestmark = pytest.mark.usefixtures("own_home")
QUICK = settings(
    deadline=None,
    derandomize=True,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = "".join(f'{{"user_id": {a.user}, "item_id": "{a.item}", "timestamp": {a.second}}}\n' for a in acts())
MARKS = [
    b'"',
    b'""',
    b'\\"',
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b",",
    b";",
    b"\t",
    b"::",
    b"{",
    b"[[[[",
    b"0,1,2,3\n",
]
BYTES = [b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x1b[31m", b"PAR1", b"\x1f\x8b"]
NUMBERS = [b"9" * 400, b"1e999", b"nan", b"2011-13-45", b"-1"]
PIECES = st.sampled_from([*MARKS, *BYTES, *NUMBERS])


def parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


FRAME = pd.DataFrame(acts(), columns=["user_id", "item_id", "rating", "timestamp"])


def tried(folder: Path, interactions: bytes, items: bytes) -> None:
    """Adds two files; a refusal has one line and a hint."""
    (folder / "i.csv").write_bytes(interactions)
    (folder / "t.csv").write_bytes(items)
    try:
        add_dataset("own", guess(folder / "i.csv", folder / "t.csv", {}))
    except IloraError as error:
        assert error.title and error.hint and not {"\n", "\x1b"} & set(error.title + error.hint)
        return
    remove_dataset("own")


def edited(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, cut, new in edits:
        place = at % (len(content) + 1)
        content = content[:place] + new + content[place + cut :]
    return content


EDIT = st.tuples(st.integers(0, 1 << 20), st.integers(0, 3), PIECES | st.binary(max_size=6))
EDITS = st.lists(EDIT, min_size=1, max_size=3)


@QUICK
@given(EDITS, EDITS)
@example([(0, 0, b"\x1b[31m,")], [(0, 0, b"\x1b[31m,")])
@example([(0, 9, b"")], [(0, 9, b"")])
def test_any_edited_csv(
    tmp_path: Path, left: list[tuple[int, int, bytes]], right: list[tuple[int, int, bytes]]
) -> None:
    tried(tmp_path, edited(TIMED.encode(), left), TITLED.encode())
    tried(tmp_path, TIMED.encode(), edited(TITLED.encode(), right))


@QUICK
@given(EDITS)
def test_any_edited_json(tmp_path: Path, edits: list[tuple[int, int, bytes]]) -> None:
    tried(tmp_path, edited(JSON.encode(), edits), TITLED.encode())


FIELD = st.sampled_from(
    ["1", "2.0", "", '"', '"a', 'a"', "a,b", " ", "user_id", "title", "2011-01-01", "nan", "\t", "é"]
)


@QUICK
@given(
    st.lists(st.lists(FIELD | st.text(max_size=3), min_size=1, max_size=5), max_size=6),
    st.sampled_from([",", ";", "\t", "::", "|"]),
    st.sampled_from(["utf-8", "cp1252", "utf-16"]),
)
def test_any_small_table(tmp_path: Path, rows: list[list[str]], mark: str, encoding: str) -> None:
    content = "\n".join(mark.join(row) for row in rows).encode(encoding, "replace")
    tried(tmp_path, content, TITLED.encode())
    tried(tmp_path, TIMED.encode(), content)


CELLS = [
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.dates(),
    st.datetimes(),
    st.decimals(allow_nan=False, places=2, min_value=0, max_value=99),
    st.lists(st.integers(0, 9), max_size=2),
]


@settings(QUICK, max_examples=60)
@given(st.data(), st.sampled_from(["user_id", "item_id", "rating", "timestamp"]))
def test_any_column_of_parquet(tmp_path: Path, data: st.DataObject, column: str) -> None:
    kind = data.draw(st.sampled_from(CELLS))
    cells = data.draw(st.lists(kind, min_size=1, max_size=4))
    frame = FRAME.assign(**{column: [cells[place % len(cells)] for place in range(len(FRAME))]})
    try:
        content = parquet(frame)
    except Exception:  # pyarrow writes no such column
        return
    tried(tmp_path, content, TITLED.encode())
    titles = pd.DataFrame({"item_id": [cells[place % len(cells)] for place in range(ITEMS)], "title": "x"})
    tried(tmp_path, TIMED.encode(), parquet(titles))


@QUICK
@given(EDITS)
def test_any_edited_parquet(tmp_path: Path, edits: list[tuple[int, int, bytes]]) -> None:
    tried(tmp_path, edited(parquet(FRAME), edits), TITLED.encode())


def windows() -> bytes:
    frame = pd.DataFrame({"seq": [[60] * 10, [1] + [60] * 9], "len_seq": [1, 1], "next": [1, 2]})
    frame.columns = frame.columns.astype(object)
    return pickle.dumps(frame, protocol=4)


@QUICK
@given(EDITS)
def test_any_edited_folder_of_pickles(tmp_path: Path, edits: list[tuple[int, int, bytes]]) -> None:
    for name in ("train_data.df", "Val_data.df", "Test_data.df"):
        (tmp_path / name).write_bytes(edited(windows(), edits))
    (tmp_path / "id2name.txt").write_text("".join(f"{item}::Title {item}\n" for item in range(60)))
    try:
        add_dataset("own", guess(tmp_path, None, {}))
    except IloraError as error:
        assert error.title and error.hint and "\n" not in error.title
        return
    remove_dataset("own")

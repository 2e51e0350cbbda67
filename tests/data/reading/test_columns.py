"""Millions of lines are read at once, and what comes out is what reading line by line gives."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.data.cards import Titles
from core.data.reading import bulk, fast, json_lines
from core.data.reading.columns import careful, read_columns
from core.data.reading.fast import fast_json, fast_text
from core.data.reading.interactions import parse_catalogue
from core.data.reading.json_lines import json_objects
from core.data.reading.pieces import Columns
from core.data.tables import InteractionsTable, ItemsTable
from core.errors import DataError
from tests.data import made_up

TABLE = InteractionsTable("ratings.tsv", user=0, item=1, rating=2, timestamp=3)
COMMAS = dataclasses.replace(TABLE, separator=",", quoted=True)
ESCAPED = dataclasses.replace(COMMAS, escaped=True)
DATED = dataclasses.replace(TABLE, time_format="date")
RATINGS = made_up.ratings()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few bytes are looked at together that a short text takes many blocks."""
    monkeypatch.setattr(bulk, "_CHUNK", 24)
    monkeypatch.setattr(fast, "_BLOCK", 96)
    monkeypatch.setattr(json_lines, "_PIECE", 7)


def numbered(columns: Columns) -> list[int]:
    """The number of each line, as messages name it."""
    return [int(columns.broken(row, "x").title.split()[2].rstrip(":")) for row in range(len(columns))]


def rows(columns: Columns) -> list[tuple[str, str, float, int]]:
    users = [columns.users.ids[place] for place in columns.users.codes]
    items = [columns.items.ids[place] for place in columns.items.codes]
    ratings = np.nan_to_num(columns.ratings, nan=-1.0).tolist()
    return list(zip(users, items, ratings, columns.timestamps.tolist(), strict=True))


def same_or_left_alone(content: bytes, table: InteractionsTable) -> None:
    """The fast reader gives the careful one's answer, or none."""
    try:
        found = fast_text(content, table)
    except DataError:
        with pytest.raises(DataError):
            careful(content, table)
        return
    if found is not None:
        expected = careful(content, table)
        assert rows(found) == rows(expected)
        assert numbered(found) == numbered(expected)


@pytest.mark.parametrize(
    ("content", "table"),
    [
        (RATINGS, TABLE),
        (RATINGS.replace(b"\n", b"\r\n"), TABLE),
        (b"\xef\xbb\xbf" + RATINGS, TABLE),
        (RATINGS.replace(b"\t", b"::"), dataclasses.replace(TABLE, separator="::")),
        (RATINGS.replace(b"\t", b","), dataclasses.replace(TABLE, separator=",", quoted=True)),
        (b"1\t3.5\t2.5\t10.9\n2\t007\t4\t11\n", dataclasses.replace(TABLE, time_format="decimal")),
        ("ü1\té\t3\t5\n".encode("latin-1"), dataclasses.replace(TABLE, encoding="latin-1")),
        (
            b"1\t2\t3\t2014-07-01\n1\t3\t3\t2014-07-01T12:00:00Z\n",
            dataclasses.replace(TABLE, time_format="date"),
        ),
        (
            b"1\t2\t3\t2014-07-01 00:00:00 UTC\n1\t3\t3\t2014-07-01T12:00:00Z\n",
            dataclasses.replace(TABLE, time_format="date"),
        ),
        (b"1\t2\t3\t1300000000123\n", dataclasses.replace(TABLE, time_format="milliseconds")),
        (b"1\t2\t3\t1300000000123456789\n", dataclasses.replace(TABLE, time_format="nanoseconds")),
        (b"1\t2\t3\t01/07/2014\n", dataclasses.replace(TABLE, time_format="%d/%m/%Y")),
        (
            b'"1";2;"3";"5"\r\n"a b";"x";"4";"6"\r\n',
            dataclasses.replace(TABLE, separator=";", quoted=True, escaped=True),
        ),
        (b"1\t2\t3\t5\n\n \n\n", TABLE),
        (b"1\t2\t+3\t5\n2\t3\t3,5\t 6\n", TABLE),
        (b'"a ""b""",1,3,5\n"c, d",2,3,6\r\nx,"y",3,7\n', COMMAS),
        (b'"a\nb",1,"3,5",5\n"c\r\n\r\nd",2,3,6\nx,2,3,6\n', COMMAS),
        (b'"a \\"b\\", c",1,3,5\n"d\\\\",2,"3",6\nx\\y,2,3,7\n', ESCAPED),
        (b"1\t2\t3\t2014-07-01 10:00:00.125\n1\t3\t3\t2014-07-01T12:00:00+00:00\n", DATED),
        (b"1\t2\t3\t2014-07-01 10:00:00 +02:00\n1\t3\t3\t2014-07-01\n", DATED),
        (b'"a, b",1,3,5\n12" mix,2,3,6\n"c",3,3,7\n', COMMAS),
        (b'5\'10" tall,1,3,5\n"d ""e""",a"b"c,3,6\n', COMMAS),
        (b"1::2::3::5::a\tb\n2::2::3::6::c\n", dataclasses.replace(TABLE, separator="::")),
        (b"1::2::3::5::a\tb\x1f\n2:::2::3::6::c\x1e\n", dataclasses.replace(TABLE, separator="::")),
        (b"1\t2\t3\t01/07/2014 01:30 PM\n", dataclasses.replace(TABLE, time_format="%d/%m/%Y %I:%M %p")),
    ],
)
def test_ordinary_files_are_read_at_once(content: bytes, table: InteractionsTable) -> None:
    found = fast_text(content, table)
    assert found is not None and rows(found) == rows(careful(content, table))
    assert numbered(found) == numbered(careful(content, table))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "_CHUNK", 1 << 24)
        whole = fast_text(content, table)
    assert whole is not None and rows(whole) == rows(found)


@pytest.mark.parametrize(
    "content",
    [
        b'"a"b,1,3,5\n', b'"a,1,3,5\n', b'a"b",1,3,5\n', b' "a",1,3,5\n', b'"a",1,3\n', b'"a\rb",1,3,5\n',
        b'"a" ,1,3,5\n', b'a,1,3,5\n\nb,1,3,5\n', b'"a""",""1,3,5\n', b'"a\n,1,3,5\n"b",1,3,5\n',
    ],
)  # fmt: skip
def test_odd_quotes_and_lines_are_left_to_the_careful_reader(content: bytes) -> None:
    assert fast_text(b'"x",1,3,5\n' + content, COMMAS) is None


PIECES = st.sampled_from(['"', '""', ",", "\n", "\r\n", "a", "1", " ", "\\", '\\"', '","', '"\n"'])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=14).map("".join), st.booleans())
@example('"a","1"\n"a\\"","1', True)
@example('a\\\\,1\n"\\\\",1', True)
def test_any_quoting_is_read_the_same_or_left_alone(text: str, escaped: bool) -> None:
    table = InteractionsTable("r.csv", user=0, item=1, separator=",", quoted=True, escaped=escaped)
    same_or_left_alone(text.encode(), table)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(RATINGS)), st.integers(0, 60), st.binary(max_size=12))
@example(6, 0, b"-")
@example(6, 0, b"+")
@example(6, 0, b"\xa0")
@example(0, 0, b"\xef\xbb\xbf")
@example(5, 0, b"\r")
def test_any_edited_file_is_read_the_same_or_left_to_the_careful_reader(
    at: int, cut: int, new: bytes
) -> None:
    same_or_left_alone(RATINGS[:at] + new + RATINGS[at + cut :], TABLE)


FIELDS = st.sampled_from(
    [
        "1",
        "2",
        " 3",
        "61 ",
        "nan",
        "-1",
        "-0",
        "+5",
        "1e5",
        "1e-3",
        ".5",
        "5.",
        "",
        "0x10",
        "1_0",
        "٣",
        '"',
        "inf",
        "True",
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([["1", "1", "1", "1"], ["1", "1", "1", "+5"]], "seconds")
@example([["1", "1", "1", "True"]], "seconds")
@example([["007", "1.0", "1", "1"]], "seconds")
@given(
    st.lists(st.lists(FIELDS | st.text(max_size=2), min_size=4, max_size=4), min_size=1, max_size=4),
    st.sampled_from(["seconds", "decimal", "date"]),
)
def test_any_table_is_read_the_same_or_left_alone(table: list[list[str]], form: str) -> None:
    content = "\n".join("\t".join(row) for row in table).encode("utf-8", "surrogatepass")
    same_or_left_alone(content, dataclasses.replace(TABLE, time_format=form))


JSON_TABLE = InteractionsTable("r.jsonl", "u", "i", "r", "t", header=True, format="jsonl")
JSON_LINES = b"".join(
    b'{"u": "u%d", "i": %d, "r": %d.5, "x": [1], "t": %d}\n' % (n % 3, n % 4, n % 5, 10**9 + n)
    for n in range(9)
)


def json_same_or_left_alone(content: bytes, table: InteractionsTable) -> bool:
    """Whether the fast reader read it, which it must as the careful one does."""
    try:
        found = fast_json(content, table)
    except DataError:
        found = None
    if found is None:
        return False
    assert rows(found) == rows(careful(content, table))
    return True


@pytest.mark.parametrize(
    "content, form",
    [
        (JSON_LINES, "seconds"),
        (JSON_LINES.removesuffix(b"\n") + b"\n\n \n", "seconds"),
        (JSON_LINES.replace(b'"u2"', '" \u00fc "'.encode()), "seconds"),
        (b'{"u": 1, "i": "\\u0041", "r": 3, "t": "2014-07-01T12:30:00"}\n' * 3, "date"),
        (b'{"u": 1, "i": 2, "r": 3, "t": 1300000000.5}\n', "decimal"),
    ],
)
def test_ordinary_json_lines_are_read_at_once(content: bytes, form: str) -> None:
    assert json_same_or_left_alone(content, dataclasses.replace(JSON_TABLE, time_format=form))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(0, 0, b"\n")
@example(45, 0, b"\n")
@example(46, 0, b"\n")
@example(1, 3, b'"u":1,"u"')
@example(6, 4, b'"\\ud800"')
@example(6, 4, b"null")
@example(6, 4, b"true")
@given(st.integers(0, len(JSON_LINES)), st.integers(0, 60), st.binary(max_size=12))
def test_any_edited_json_is_read_the_same_or_left_to_the_careful_reader(
    at: int, cut: int, new: bytes
) -> None:
    json_same_or_left_alone(JSON_LINES[:at] + new + JSON_LINES[at + cut :], JSON_TABLE)


JSON_LIST = b"[" + JSON_LINES.strip().replace(b"\n", b", ") + b"]"


@pytest.mark.parametrize("block", [1 << 24, 150, 100])
@pytest.mark.parametrize("between", [b",", b", ", b",\n", b" ,\n  ", b"\n,\r\n"])
def test_a_list_is_read_block_by_block(block: int, between: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_BLOCK", block)
    content = b" [\n" + between.join(JSON_LINES.splitlines()) + b"\n]\n "
    assert json_same_or_left_alone(content, JSON_TABLE)
    assert rows(read_columns(content, JSON_TABLE)) == rows(read_columns(JSON_LINES, JSON_TABLE))


@pytest.mark.parametrize("block", [1 << 24, 500])
@pytest.mark.parametrize("indent", ["", " ", "    ", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_of_objects_of_several_lines_is_read_at_once(
    block: int, indent: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "_BLOCK", block)
    records = [
        {**json.loads(line), "x": {"a": [1, {"b": '"\\'}], "c": "\\"}} for line in JSON_LINES.splitlines()
    ]
    content = json.dumps(records, indent=indent).replace("\n", end).encode()
    assert json_same_or_left_alone(content, JSON_TABLE)
    assert rows(read_columns(content, JSON_TABLE)) == rows(read_columns(JSON_LINES, JSON_TABLE))


PRETTY = json.dumps([json.loads(line) for line in JSON_LINES.splitlines()[:4]], indent=1).encode()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(PRETTY.index(b"u0"), 0, b"\n")
@example(PRETTY.index(b"u0"), 0, b"\r")
@given(st.integers(0, len(PRETTY)), st.integers(0, 60), st.binary(max_size=12))
def test_any_edited_list_of_several_lines_is_read_the_same_or_left_alone(
    at: int, cut: int, new: bytes
) -> None:
    json_same_or_left_alone(PRETTY[:at] + new + PRETTY[at + cut :], JSON_TABLE)


COLONS = b"1::2::3::5::a\tb\n2::3::4::6::c d\n3::3::4::7::e\n"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(COLONS)), st.integers(0, 20), st.text("1:\t\n\x1f\x1e a", max_size=8))
def test_any_edited_file_with_two_colons_is_read_the_same_or_left_alone(at: int, cut: int, new: str) -> None:
    same_or_left_alone(
        COLONS[:at] + new.encode() + COLONS[at + cut :], dataclasses.replace(TABLE, separator="::")
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"u0"', b'"x}, {y"'), (b"[1]", b'[{"a": 1}, {"b": 2}]'), (b"[1]", b'"},\\n{"'), (b'"t"', b'\n"t"')],
)
@pytest.mark.parametrize("block", [1 << 24, 150])
def test_what_only_looks_like_the_end_of_an_object_is_none(
    old: bytes, new: bytes, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "_BLOCK", block)
    content = JSON_LIST.replace(old, new)
    json_same_or_left_alone(content, JSON_TABLE)
    wanted = rows(read_columns(JSON_LINES.replace(old, new.replace(b"\n", b" ")), JSON_TABLE))
    assert rows(read_columns(content, JSON_TABLE)) == wanted


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(len(JSON_LIST) - 1, 1, b"")
@example(len(JSON_LIST) - 1, 0, b",")
@example(len(JSON_LIST), 0, b"]")
@example(0, 1, b"")
@given(st.integers(0, len(JSON_LIST)), st.integers(0, 60), st.binary(max_size=12))
def test_any_edited_list_is_read_the_same_or_left_to_the_careful_reader(
    at: int, cut: int, new: bytes
) -> None:
    json_same_or_left_alone(JSON_LIST[:at] + new + JSON_LIST[at + cut :], JSON_TABLE)


def test_the_first_objects_of_a_list_are_read_without_the_rest() -> None:
    found = json_objects(b'[{"a": 1}, {"a": 2}, no more', lambda line, problem, about="": DataError(problem))
    assert [record for _, record in itertools.islice(found, 2)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match="not JSON"):
        next(found)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[", 1), ("[{}", 1), ("[{},\n]", 2), ("[{}\n{}]", 2), ("[{}]\n\nx", 3), ("[1]", 1), ("[,]", 1),
        ('[{},\n{\n"a":}]', 3), ("[" * 99_999, 1), ('[\n{"a":' + "9" * 5000 + "}]", 2), ("[{}]]", 1),
    ],
    ids=lambda value: str(value)[:9],
)  # fmt: skip
def test_the_line_of_a_list_that_is_none_is_named(text: str, line: int) -> None:
    def fail(line: int, problem: str, about: str = "") -> DataError:
        return DataError(f"line {line}: {problem}")

    with pytest.raises(DataError, match=f"line {line}:"):
        list(json_objects(text.encode(), fail))
    assert list(json_objects(b"[ ]", fail)) == []
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        list(json_objects(b'[{},\n{"a": "\xff"}]', fail))


JSON_VALUES = st.sampled_from(
    ['"a"', '" b "', "1", "2", "1.0", "1e3", "-0", "01", "NaN", "Infinity", "null", "true", "[]", "{}", '""',
     '"1"', '"\\u0000"', '"2014-07-01"', "9223372036854775808", "1e400", "0.1", '"a\\nb"', "1.50"]
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(JSON_VALUES, min_size=4, max_size=4), min_size=1, max_size=4),
    st.sampled_from(["seconds", "decimal", "date", "milliseconds"]),
)
def test_any_json_values_are_read_the_same_or_left_alone(table: list[list[str]], form: str) -> None:
    lines = ['{"u": %s, "i": %s, "r": %s, "t": %s}' % tuple(row) for row in table]  # noqa: UP031
    json_same_or_left_alone("\n".join(lines).encode(), dataclasses.replace(JSON_TABLE, time_format=form))


def test_fields_in_quotes_may_hold_separators_and_breaks_and_the_line_is_still_named() -> None:
    table = dataclasses.replace(TABLE, separator=",", quoted=True)
    found = read_columns(b'"a, b",1,3,5\n"c\nd",2,3,6\n', table)
    assert found.users.ids == ("a, b", "c d")
    with pytest.raises(DataError, match=r"ratings.tsv, line 4: rating 'x'"):
        read_columns(b'"a, b",1,3,5\n"c\nd",2,3,6\ne,1,x,7\n', table)


def test_parquet_is_read_or_its_row_is_named(tmp_path: Path) -> None:
    table = InteractionsTable("r.parquet", "u", "i", None, "t", header=True, format="parquet")
    frame = pd.DataFrame({"u": [1, 2], "i": ["a", "b"], "t": pd.to_datetime(["2014-07-01", "2014-07-02"])})
    frame.to_parquet(tmp_path / "r.parquet")
    found = read_columns((tmp_path / "r.parquet").read_bytes(), table)
    assert rows(found)[0][:2] == ("1", "a") and np.diff(found.timestamps).tolist() == [86_400]
    frame.assign(i=["a", None]).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(DataError, match=r"r\.parquet, row 2: no item"):
        read_columns((tmp_path / "r.parquet").read_bytes(), table)


def test_parquet_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int32)), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"id": pa.array(range(5000)), "title": long}), tmp_path / "t.parquet")
    table = ItemsTable("t.parquet", "id", "title", header=True, format="parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    assert len(content) < 100_000
    with pytest.raises(DataError, match="unfold to more than the file can hold"):
        parse_catalogue(content, table, Titles())
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000_000, np.int32)), pa.array(["x"]))
    pq.write_table(pa.table({"id": rows, "title": rows}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="claims 2,000,000 rows in"):
        parse_catalogue((tmp_path / "t.parquet").read_bytes(), table, Titles())

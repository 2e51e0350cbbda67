"""Long fields, escaped quotes, options with a folder, rarer encodings, lines at fault: ten of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from core.data.own.guessing import guess
from core.data.own.looking import Said
from core.errors import IloraError
from tests.data.own.acts import TIMED, TITLED, acts, add, kept, listing, order, refused, text, titles

pytestmark = pytest.mark.usefixtures("own_home")
LONG = "word " * 60_000
"""More than the csv module takes in one field."""


def shown(
    tmp_path: Path, *, interactions: str | bytes = TIMED, items: str | bytes = TITLED, **more: object
) -> dict[int, str]:
    """Titles by id, after a user's items were found in the order of time."""
    added = add(tmp_path, interactions, items, **more)  # type: ignore[arg-type]
    assert kept(added) == order(7)
    return dict(zip(map(int, added.dataset.catalogue.ids), added.dataset.catalogue.titles, strict=True))


# --- fields longer than a csv reader's limit ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("item_id,title,plot", '{id},{title},"' + LONG + '"'),
        ("item_id,title,plot", "{id},{title}," + LONG),
        ("item_id,plot,title", '{id},"' + LONG + '",{title}'),
        ("item_id\ttitle\tplot", "{id}\t{title}\t" + LONG),
        ("item_id\tplot\ttitle", "{id}\t\"" + LONG + "\t{title}"),
        ("item_id;title;plot", '{id};{title};"' + LONG + ', ""so""; it went"'),
        ("item_id|title|plot", "{id}|{title}|" + LONG),
        ("item_id::title::plot", "{id}::{title}::" + LONG),
        ("item_id,title,plot", '{id},{title},"' + LONG.replace(" ", "\n", 3) + '"'),
        ("item_id,title,plot", '{id},{title},"' + LONG + '\\"quoted\\", so"'),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_long_field_is_passed_over(tmp_path: Path, header: str, line: str) -> None:
    one = listing(header, line.replace(LONG, "x")).splitlines(keepends=True)
    odd = line.format(id=61, title="Title 61") + "\n"
    assert shown(tmp_path, items="".join(one) + odd)[61] == "Title 61"


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("user_id,item_id,timestamp,review", '{user},{item},{second},"' + LONG + '"'),
        ("review,user_id,item_id,timestamp", '"' + LONG + ', so",{user},{item},{second}'),
        ("user_id\titem_id\treview\ttimestamp", "{user}\t{item}\t" + LONG + "\t{second}"),
    ],
    ids=range(3),
)
def test_a_long_review_is_passed_over(tmp_path: Path, header: str, line: str) -> None:
    long = line.format(user=99, item=5, second=1_300_000_000)
    assert (
        shown(tmp_path, interactions=text(header, line.replace(LONG, "good")) + long + "\n")[5] == "Title 5"
    )


# --- quotes behind backslashes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({5: '"The \\"Best\\" of"'}, {5: 'The "Best" of'}),
        ({5: '"\\"Heroes\\""'}, {5: '"Heroes"'}),
        ({5: '"a; \\"b\\"; c"', 6: '"d; e"'}, {5: 'a; "b"; c', 6: "d; e"}),
        ({60: '"the last \\"one\\""'}, {60: 'the last "one"'}),
        ({1: '"the \\"first\\"; one"'}, {1: 'the "first"; one'}),
        ({n: f'"no. \\"{n}\\""' for n in range(1, 61)}, {n: f'no. "{n}"' for n in range(1, 61)}),
        ({5: '"12\\" vinyl"'}, {5: '12" vinyl'}),
        ({5: '"two \\"lines\\"\nof it"'}, {5: 'two "lines" of it'}),
        ({5: '"\\"a\\"; \\"b\\""', 30: '"\\"c\\""'}, {5: '"a"; "b"', 30: '"c"'}),
        ({5: '"Amélie \\"Poulain\\"; 雪"'}, {5: 'Amélie "Poulain"; 雪'}),
    ],
)  # fmt: skip
def test_a_quote_behind_a_backslash_is_a_letter(
    tmp_path: Path, written: Mapping[int, str], meant: Mapping[int, str]
) -> None:
    quoted = {n: written.get(n, f'"Title {n}"') for n in range(1, 61)}
    items = listing('"item_id";"title"', '"{id}";{title}', quoted)
    assert shown(tmp_path, items=items) == titles(meant)


# --- options given with a folder ---------------------------------------------------------------------------

INTER = text(
    "user_id:token\titem_id:token\trating:float\ttimestamp:float", "{user}\t{item}\t{rating}\t{second}"
)
ITEM = listing("item_id:token\tname:token\tother:token\tplace:token", "{id}\t{title}\tO {id}\t{id}9")


@pytest.mark.parametrize(
    ("given", "said", "found"),
    [
        ({"title": "other:token"}, None, ("title", "other:token")),
        ({"title": "name:token"}, None, ("title", "name:token")),
        ({"id": "place:token"}, None, ("id", "place:token")),
        ({"user": "item_id:token", "item": "user_id:token"}, None, ("user", "item_id:token")),
        ({"item": "rating:float"}, None, ("item", "rating:float")),
        ({"timestamp": "rating:float"}, None, ("timestamp", "rating:float")),
        ({"timestamp": "none"}, None, ("timestamp", None)),
        ({"rating": "timestamp:float", "timestamp": "none"}, None, ("rating", "timestamp:float")),
        ({}, Said(encoding="cp1252"), ("encoding", "cp1252")),
        ({}, Said(quoting="none"), ("quoted", False)),
    ],
)
def test_an_option_with_a_folder_is_heeded(
    tmp_path: Path, given: dict[str, str], said: Said | None, found: tuple[str, str | None]
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "own.inter").write_text(INTER)
    (tmp_path / "f" / "own.item").write_text(ITEM)
    read = guess(tmp_path / "f", None, given, said=said)
    name, value = found
    assert value in {getattr(part, name) for part in (read.interactions, read.items) if hasattr(part, name)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"title": "nope"}, None), ({"id": "nope:token"}, None), ({"user": ""}, None), ({"item": "9"}, None),
        ({"timestamp": "nope"}, None), ({"rating": "\x1b[31m"}, None), ({}, Said(separator="|")),
        ({}, Said(separator="~")), ({}, Said(encoding="utf-16")), ({"title": "rating:float"}, None),
    ],
)  # fmt: skip
def test_an_option_that_a_folder_cannot_heed_is_one_line(
    tmp_path: Path, given: dict[str, str], said: Said | None
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "own.inter").write_text(INTER)
    (tmp_path / "f" / "own.item").write_text(ITEM)
    with pytest.raises(IloraError) as caught:
        guess(tmp_path / "f", None, given, said=said)
    assert "\n" not in caught.value.title + caught.value.hint and caught.value.hint


# --- encodings that must be said ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("cp1251", "Братья Карамазовы"), ("koi8-r", "Мастер и Маргарита"), ("cp1253", "Οδύσσεια"),
        ("cp1255", "שיר השירים"), ("cp1256", "ألف ليلة وليلة"), ("gb18030", "红楼梦之石头记"),
        ("big5", "三國演義之桃園"), ("shift_jis", "銀河鉄道の夜"), ("euc-jp", "吾輩は猫である"),
        ("euc-kr", "엄마를 부탁해"), ("iso8859-7", "Ιλιάδα"), ("cp874", "สี่แผ่นดิน"),
    ],
)  # fmt: skip
def test_an_encoding_that_is_said_is_read_and_none_is_guessed_wrongly(
    tmp_path: Path, encoding: str, title: str
) -> None:
    odd = {n: f"{title} {n}" for n in range(9, 30)}
    items = listing("item_id,title", "{id},{title}", odd).encode(encoding)
    refused(tmp_path, "t.csv, line 10: not utf-8 text", "--encoding", items=items)
    assert shown(tmp_path, items=items, said=Said(encoding=encoding)) == titles(odd)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("UTF8", "utf-8"), ("utf-8-sig", "utf-8"), ("Utf-8", "utf-8"), ("windows-1252", "cp1252"),
        ("ISO-8859-1", "latin-1"),
        ("latin1", "latin-1"), ("L1", "latin-1"), ("win-1251", None), ("windows-1251", "cp1251"),
        ("Shift-JIS", "shift_jis"), ("euc-kr", "euc_kr"), ("UTF_16", "utf-16"), ("ms932", "cp932"),
        ("utf-7", None), ("unicode_escape", None), ("rot13", None), ("hex", None), ("idna", None), ("", None),
        ("\0", None), ("x" * 10_000, None), ("\ud800", None), ("punycode", None), ("../utf-8", None),
    ],
)  # fmt: skip
def test_an_encoding_has_many_names_and_none_turns_text_into_something_else(
    said: str, known: str | None
) -> None:
    if known is not None:
        assert Said(encoding=said).encoding == known
        return
    with pytest.raises(IloraError, match="--encoding cannot be"):
        Said(encoding=said)


# --- the line at fault -------------------------------------------------------------------------------------


def at(line: int, change: Callable[[list[str]], list[str]]) -> str:
    """The interactions with the columns of one line, counted from 1, changed."""
    lines = TIMED.splitlines()
    lines[line - 1] = ",".join(change(lines[line - 1].split(",")))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("line", "change", "words"),
    [
        (2, lambda row: [*row[:3], "noon"], "timestamp 'noon'"),
        (60, lambda row: [*row[:3], ""], "no timestamp"),
        (121, lambda row: [*row[:3], "1e400"], "timestamp"),
        (90, lambda row: row[:3], "3 columns where 4 are due"),
        (90, lambda row: [*row, "x"], "5 columns where 4 are due"),
        (77, lambda row: ["", *row[1:]], "no user"),
        (77, lambda row: [row[0], "", *row[2:]], "no item"),
        (50, lambda row: [row[0], "777", *row[2:]], "unknown item id '777'"),
        (33, lambda row: [*row[:2], "good", row[3]], "rating 'good' is not a number"),
        (100, lambda row: [*row[:2], "nan", row[3]], "rating"),
        (118, lambda row: [*row[:3], "99999999999999999999"], "time"),
        (21, lambda row: [*row[:3], "-5"], "time"),
    ],
)  # fmt: skip
def test_the_line_at_fault_is_named(
    tmp_path: Path, line: int, change: Callable[[list[str]], list[str]], words: str
) -> None:
    with pytest.raises(IloraError) as caught:
        add(tmp_path, at(line, change))
    assert f"i.csv, line {line}:" in caught.value.title and words in caught.value.title


# --- lines of JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        lambda row: {**row, "text": 'a " and a \n and a { and \u2028'},
        lambda row: {**row, "meta": {"user_id": "other", "deep": [[[{}]]]}},
        lambda row: dict(reversed(row.items())),
        lambda row: {**row, "timestamp": row["timestamp"] + 0.0},
        lambda row: {**row, "timestamp": row["timestamp"] * 1000},
        lambda row: {**row, "item_id": str(row["item_id"])},
        lambda row: {**row, "rating": None},
        lambda row: {**row, "é": "ü", "雪": 1},
        lambda row: {**row, "": 1, "empty": ""},
        lambda row: {"_id": {"$oid": "5f"}, **row, "verified": True},
        lambda row: {**row, "user_id": row["user_id"], "style": {"Size:": " L"}},
    ],
    ids=range(11),
)
@pytest.mark.parametrize("spaced", [None, (",", ":")])
def test_json_lines_of_any_shape(
    tmp_path: Path, shape: Callable[[dict[str, object]], dict[str, object]], spaced: tuple[str, str] | None
) -> None:
    rows = [
        shape({"user_id": a.user, "item_id": a.item, "rating": a.rating, "timestamp": a.second})
        for a in acts()
    ]
    lines = "\n".join(json.dumps(row, separators=spaced, ensure_ascii=False) for row in rows)
    assert shown(tmp_path, interactions=lines)[5] == "Title 5"

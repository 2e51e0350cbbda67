"""Odd files are read as their owners mean them, or refused in one line that names the line and what helps."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from core.data.own.adding import remove_dataset
from core.data.own.guessing import guess
from core.data.own.looking import Said
from core.errors import DataError, InputError
from tests.data.own.acts import (
    EACH,
    TIMED,
    TITLED,
    USERS,
    acts,
    add,
    kept,
    listing,
    order,
    refused,
    text,
    titles,
)

pytestmark = pytest.mark.usefixtures("own_home")
TSV = "{id}\t{title}"
CSV = "{id},{title}"


def shown(tmp_path: Path, items: str | bytes, said: Said | None = None) -> dict[int, str]:
    """The titles of an items' file, which lists all items."""
    added = add(tmp_path, items=items, said=said)
    assert kept(added) == order(7)
    return dict(zip(map(int, added.dataset.catalogue.ids), added.dataset.catalogue.titles, strict=True))


# --- quotes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {11: '"Heroes', 13: 'Blue Monday 12"'},
        {11: '"Heroes', 12: 'Two"', 40: '"Third'},
        {1: '"', 60: '"x'},
        {5: '12" Mix', 6: 'The "Best" of'},
        {5: '"Heroes" (live)', 6: '"Quoted'},
        {5: 'say ""', 6: '"" x'},
        {60: '"Last'},
        {1: '"First', 2: 'of "all"'},
        {30: "back\\slash", 31: 'and \\"'},
        {7: '"a" and "b"', 8: '"c'},
        {7: '"Lock, Stock', 8: 'and Barrel"'},
    ],
)
def test_text_without_quoting_is_never_merged_over_lines(tmp_path: Path, odd: dict[int, str]) -> None:
    assert shown(tmp_path, listing("item_id\ttitle", TSV, odd)) == titles(odd)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({55: '"Lock, Stock"', 57: '"He said ""yes"""'}, {55: "Lock, Stock", 57: 'He said "yes"'}),
        ({57: '"He said ""yes"""'}, {57: 'He said "yes"'}),
        ({2: '"A title\nof two lines"'}, {2: "A title of two lines"}),
        ({2: '"Of, two\nlines"', 3: '"A\n\nB"'}, {2: "Of, two lines", 3: "A B"}),
        ({60: '"Last, of all"'}, {60: "Last, of all"}),
        ({4: '"Only quoted"'}, {4: "Only quoted"}),
        ({4: '12" Mix', 5: '"a, b"'}, {4: '12" Mix', 5: "a, b"}),
        ({4: '"Classical \\"Mythology\\""'}, {4: 'Classical "Mythology"'}),
        ({4: '"Classical \\"Mythology\\", a"', 5: '"x, y"'}, {4: 'Classical "Mythology", a', 5: "x, y"}),
        ({4: '"long, ' + "x" * 140_000 + '"'}, {4: "long, " + "x" * 140_000}),
        ({n: f'"a, {n}"' for n in range(1, 61)}, {n: f"a, {n}" for n in range(1, 61)}),
    ],
)  # fmt: skip
def test_quotes_are_understood_wherever_they_first_come(
    tmp_path: Path, written: dict[int, str], meant: dict[int, str]
) -> None:
    assert shown(tmp_path, listing("item_id,title", CSV, written)) == titles(meant)


def test_a_quote_after_thousands_of_lines_is_still_a_quote(tmp_path: Path) -> None:
    more = "".join(f"{item},Title {item}\n" for item in range(61, 4000)) + '4000,"Lock, Stock"\n'
    titles_ = add(tmp_path, items=TITLED + more).dataset.catalogue.titles
    assert len(titles_) == 4000 and titles_[-1] == "Lock, Stock"


@pytest.mark.parametrize(
    ("odd", "line"),
    [
        ({10: '"Unclosed, here', 30: '"a, b"', 31: '"c, d"'}, 11),
        ({10: '"Closed" too early, and more"', 30: '"a, b"', 31: '"c, d"'}, 11),
        ({10: "One, two", 30: '"a, b"', 31: '"c, d"'}, 11),
        ({60: '"Unclosed, here', 30: '"a, b"', 31: '"c, d"'}, 61),
        ({10: '"Opens', 14: 'closes"', 30: '"a, b"', 31: '"c, d"', 32: '"e, f"'}, 11),
    ],
)
def test_the_line_named_is_the_line_at_fault(tmp_path: Path, odd: dict[int, str], line: int) -> None:
    refused(tmp_path, f"t.csv, line {line}:", "--quoting", items=listing("item_id,title", CSV, odd))


def test_lines_are_counted_through_fields_of_several_lines(tmp_path: Path) -> None:
    broken = TIMED.replace("user_id", "note,user_id").replace("\n", '\n"a\nb, c",', EACH * USERS)
    lines = broken.splitlines()
    assert kept(add(tmp_path, broken)) == order(7)
    remove_dataset("own")
    lines[6] = lines[6].rpartition(",")[0] + ",noon"
    refused(
        tmp_path, "i.csv, line 6: timestamp 'noon'", "--time-column", interactions="\n".join(lines) + "\n"
    )
    lines = broken.splitlines()
    lines[8] = 'b, c",1,777,5,1300000000'
    refused(
        tmp_path,
        "i.csv, line 8: unknown item id '777'",
        "--drop-unlisted",
        interactions="\n".join(lines) + "\n",
    )


def test_what_quotes_mean_can_be_said(tmp_path: Path) -> None:
    odd = {4: '"Heroes"'}
    items = listing("item_id\ttitle", TSV, odd)
    assert shown(tmp_path, items)[4] == "Heroes"
    remove_dataset("own")
    assert shown(tmp_path, items, Said(quoting="none")) == titles(odd)
    with pytest.raises(InputError, match="--quoting cannot be 'some'"):
        Said(quoting="some")


# --- separators ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "line", "odd"),
    [
        ("item_id;title (original, if any);title", "{id};{title};{title}", {}),
        ("item_id;title", "{id};{title}", {5: "Lock, Stock"}),
        ("item_id;title", "{id};{title}", {n: f"Lock, Stock {n}" for n in range(1, 61)}),
        ("", "{id};{title}", {n: f"Lock, Stock {n}" for n in range(1, 61)}),
        ("", "{id}|{title}", {n: f"Lock, Stock; {n}" for n in range(1, 61)}),
        ("item_id|title|price", "{id}|{title}|3,50", {}),
        ("item_id;price;title", "{id};3,50;{title}", {}),
        ("item_id\ttitle", "{id}\t{title}", {n: f"a, b; c|d::{n}" for n in range(1, 61)}),
        ("item_id,title", "{id},{title}", {5: "Part 1; Part 2", 6: "a|b"}),
        ("item_id::title", "{id}::{title}", {5: "Alien: 3", 6: "a, b, c"}),
        ('"item_id";"title"', '"{id}";"{title}"', {5: "a; b", 6: "c, d"}),
    ],
)
def test_the_separator_is_what_cuts_all_lines_alike(
    tmp_path: Path, header: str, line: str, odd: dict[int, str]
) -> None:
    assert shown(tmp_path, listing(header, line, odd)) == titles(odd)


def test_the_separator_can_be_said(tmp_path: Path) -> None:
    items = listing("item_id~title", "{id}~{title}", {5: "a, b"})
    refused(tmp_path, "t.csv, line ", "--separator", items=items)
    assert shown(tmp_path, items, Said(separator="~"))[5] == "a, b"
    remove_dataset("own")
    spaced = text("", "{user} {item} {rating} {second}")
    assert kept(add(tmp_path, spaced, said=Said(separator="space"))) == order(7)
    refused(tmp_path, "'^' is not between the columns", "--separator", said=Said(separator="^"))
    with pytest.raises(InputError, match="--separator cannot be 'ab'"):
        Said(separator="ab")


# --- a first line of names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("0,1,2,3", "{user},{item},{rating},{second}"),
        (",0,1,2,3", "{user}0{item},{user},{item},{rating},{second}"),
        ("Unnamed: 0,user_id,item_id,timestamp", "{user}0{item},{user},{item},{second}"),
        ("# user_id,item_id,rating,timestamp", "{user},{item},{rating},{second}"),
        ("USER ID,Item ID,Rating,Time Stamp", "{user},{item},{rating},{second}"),
        ("user_id, item_id, rating, timestamp", "{user}, {item}, {rating}, {second}"),
        ("id,user_id,item_id,timestamp", "{item},{user},{item},{second}"),
        ("", "{user},{item},{rating},{second}"),
        ("", "{user},{item},{second}"),
        ("", "{user},{item},{second},{rating}"),
        ("", "{user},{m:%Y-%m-%dT%H:%M:%SZ},30.2,-97.7,{item}"),
    ],
)
def test_names_are_told_from_data(tmp_path: Path, header: str, line: str) -> None:
    added = add(tmp_path, text(header, line))
    assert len(added.dataset.sequences) == USERS and added.card.expected.interactions == USERS * EACH
    assert kept(added) == order(7)


@pytest.mark.parametrize(
    ("odd", "first"),
    [({1: "Time"}, "Time"), ({2: "1984"}, "Title 1"), ({1: "Artist", 2: "300"}, "Artist"), ({}, "Title 1")],
)
def test_a_first_item_with_a_telling_title_is_an_item(
    tmp_path: Path, odd: dict[int, str], first: str
) -> None:
    added = add(tmp_path, text("", "u{user},B{item},{rating},{second}"), listing("", "B{id},{title}", odd))
    assert len(added.dataset.catalogue) == 60 and added.dataset.catalogue.titles[0] == first


def test_whether_there_are_names_can_be_said(tmp_path: Path) -> None:
    interactions = "0,1,2,3\n" + TIMED.partition("\n")[2]
    refused(
        tmp_path,
        "t.csv, line 1: plainly names",
        "--header items",
        interactions=interactions,
        said=Said(header="no"),
    )
    assert len(add(tmp_path, interactions, said=Said(header="items")).dataset.sequences) == USERS + 1
    remove_dataset("own")
    bare = listing("", CSV)
    assert len(add(tmp_path, interactions, bare, said=Said(header="no")).dataset.sequences) == USERS + 1


# --- encodings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("cp1252", "Schindler’s List – Director’s Cut"),
        ("cp1252", "Amélie"),
        ("latin-1", "Über Straße"),
        ("utf-8", "Amélie – 雪国 🐳"),
        ("utf-8-sig", "Amélie"),
        ("utf-16", "雪国"),
    ],
)
def test_western_and_unicode_text_is_told_apart(tmp_path: Path, encoding: str, title: str) -> None:
    assert shown(tmp_path, listing("item_id,title", CSV, {9: title}, "\r\n").encode(encoding))[9] == title


@pytest.mark.parametrize(
    ("encoding", "title"),
    [("cp1251", "Война и мир"), ("gb18030", "三体之地球往事"), ("shift_jis", "雪国の女")],
)
def test_other_text_is_asked_for_and_never_garbled(tmp_path: Path, encoding: str, title: str) -> None:
    items = listing("item_id,title", CSV, dict.fromkeys(range(9, 12), title)).encode(encoding)
    refused(tmp_path, "t.csv, line 10: not utf-8 text", "--encoding", items=items)
    assert shown(tmp_path, items, Said(encoding=encoding))[9].startswith(title)


def test_one_damaged_letter_in_utf8_is_named(tmp_path: Path) -> None:
    items = listing("item_id,title", CSV, {n: f"Amélie {n}" for n in range(1, 61)}).encode()
    refused(
        tmp_path,
        "t.csv, line 31: not utf-8 text",
        "--encoding",
        items=items.replace(b"\xc3\xa9lie 30", b"\xe9lie 30"),
    )


# --- files of other kinds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 no zip", "cannot be unpacked"),
        (b"\x1f\x8b\x08\0 cut off", "cannot be unpacked"),
        (b"BZh91AY cut off", "cannot be unpacked"),
        (b"\xfd7zXZ\x00 cut", "cannot be unpacked"),
        (b"\x28\xb5\x2f\xfd\0", "is zstandard"),
        (b"SQLite format 3\0", "SQLite database"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"PAR1 no parquet", "not a parquet file"),
        (b"\x80\x04K\x01.", "is a pickle"),
        (b"\0\0\0\0", "is empty"),
        (b"a\0b\0", "is no text"),
        (b'{"user_id": ', "line 1: not JSON"),
        (b'{"a": []}\n', "JSON object without"),
        (b"just words\nand more\n", "no tab, comma"),
        (b"\nitem_id,title\n1,a\n", "line 1: blank"),
        (b" \r\n\r\nitem_id,title\r\n1,a\r\n", "line 1: blank"),
        (b"sep=;\r\nitem_id;title\r\n1;a\r\n", "line 1: a note for a spreadsheet program"),
        (b'"sep=,"\nitem_id,title\n1,a\n', "line 1: a note for a spreadsheet program"),
        (b"[[1,2,5],\n [2,3,4]]\n", "is a JSON list of lists"),
        (b'[["1","a"],["2","b"]]', "is a JSON list of lists"),
        ("\ufeffitem_id,title\n1,a\n".encode("utf-32"), "is UTF-32 text"),
    ],
)
def test_what_is_no_table_says_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    for place in ("interactions", "items"):
        refused(tmp_path, words, "", **{place: content})


@pytest.mark.parametrize("name", ["u.inter", "u.item"])
def test_a_file_that_never_ends_is_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for other in {"u.inter", "u.item"} - {name}:
        (folder / other).write_text("user_id:token\titem_id:token\tname:token\n1\t2\tx\n")
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        guess(folder, None, {})
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match="not a regular file"):
        guess(folder, None, {})


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    lines = [f'{{"user_id": {a.user}, "item_id": {a.item}, "ts": {a.second}}}' for a in acts()]
    assert kept(add(tmp_path, "\n".join([*lines, "", ""]))) == order(7)
    for wrong, words in (
        ('{"user_id": 1', "not JSON"),
        ("[1]", "list where a JSON object is due"),
        ('{"user_id": [1], "item_id": 1, "ts": 1}', "'user_id' is a list"),
        ('{"item_id": 1, "ts": 1}', "no user"),
        ('{"user_id": 1, "item_id": 1, "ts": "noon"}', "timestamp 'noon'"),
        ('{"user_id": 1, "item_id": 1, "ts": ' + "9" * 5000 + "}", "JSON with too many digits"),
        ('{"user_id": 1, "item_id": 1, "ts": NaN}', "timestamp 'nan'"),
    ):
        remove_dataset("own") if (tmp_path / "home/cards/own.toml").exists() else None
        content = "\n".join([*lines, *lines, *lines, wrong, ""])
        refused(tmp_path, f"i.csv, line 361: {words}", "", interactions=content)


# --- folders ---------------------------------------------------------------------------------------------


def test_options_with_a_folder_are_heeded_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "own.inter").write_text(text(header, "{user}\t{item}\t{rating}\t{second}.0"))
    (folder / "own.item").write_text(
        listing("item_id:token\tvenue_type:token\tx:token", "{id}\t{title}\t{id}9")
    )
    with pytest.raises(InputError, match="which column is the title") as caught:
        guess(folder, None, {})
    assert "--title-column" in caught.value.hint
    found = guess(folder, None, {"title": "venue_type:token"})
    assert found.items.title == "venue_type:token" and found.kind == "RecBole"
    assert guess(folder, None, {"title": "x:token", "id": "venue_type:token"}).items.id == "venue_type:token"
    assert guess(folder, None, {"title": "x:token"}, said=Said(encoding="cp1252")).items.encoding == "cp1252"
    with pytest.raises(InputError, match="has no column 'nope'"):
        guess(folder, None, {"title": "nope"})
    with pytest.raises(InputError, match="--items does not go with a folder"):
        guess(folder, folder / "own.item", {})
    with pytest.raises(InputError, match="is not between the columns"):
        guess(folder, None, {"title": "x:token"}, said=Said(separator="^"))
    movies = tmp_path / "ml"
    movies.mkdir()
    (movies / "ratings.csv").write_text(
        text("userId,movieId,rating,timestamp", "{user},{item},{rating},{second}")
    )
    (movies / "movies.csv").write_text(listing("movieId,title,genres", "{id},{title},{title}"))
    assert guess(movies, None, {"title": "genres"}).items.title == "genres"
    assert guess(movies, None, {"timestamp": "none"}).interactions.timestamp is None  # type: ignore[union-attr]


def test_shuffled_lines_change_nothing_but_ties(tmp_path: Path) -> None:
    lines = TIMED.splitlines()
    body = lines[1:]
    random.Random(5).shuffle(body)
    assert kept(add(tmp_path, "\n".join([lines[0], *body, "", " ", ""]))) == order(7)

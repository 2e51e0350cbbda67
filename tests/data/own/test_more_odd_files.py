"""Ten more odd files of each kind that ever went wrong, each read as its owner means it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping
from datetime import timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from core.data.own.looking import Said
from tests.data.own.acts import (
    EACH,
    ITEMS,
    TIMED,
    TITLED,
    USERS,
    acts,
    add,
    kept,
    listing,
    order,
    text,
    titles,
)

pytestmark = pytest.mark.usefixtures("own_home")


def read(
    tmp_path: Path, interactions: str | bytes = TIMED, items: str | bytes = TITLED, **more: object
) -> dict[int, str]:
    """Titles by id, after all interactions were found in the order of time."""
    added = add(tmp_path, interactions, items, **more)  # type: ignore[arg-type]
    expected = added.card.expected
    assert (expected.users, expected.items, expected.interactions) == (USERS, ITEMS, USERS * EACH)
    assert kept(added) == order(7)
    return dict(zip(map(int, added.dataset.catalogue.ids), added.dataset.catalogue.titles, strict=True))


@pytest.mark.parametrize(
    "odd",
    [
        {60: '"'}, {59: '"a', 60: 'b"'}, {1: 'a"', 2: '"b'}, {3: 'x""'}, {3: '"""'},
        {9: "'Tis", 10: "it's \"x"},
        {n: f'"{n}' for n in range(1, 61)},
        {8: '"a"b"c"'}, {8: '\\"', 9: '"\\'}, {20: '"\u201cq\u201d', 21: '\u00ab"'},
    ],
)  # fmt: skip
def test_quotes_that_are_letters(tmp_path: Path, odd: Mapping[int, str]) -> None:
    found = read(tmp_path, items=listing("item_id\ttitle", "{id}\t{title}", odd), names=("i.csv", "t.tsv"))
    assert found == titles(odd)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({60: '"a\nb, c"'}, {60: "a b, c"}),
        ({1: '"x, ""y"""', 60: '"""z"", w"'}, {1: 'x, "y"', 60: '"z", w'}),
        ({n: f'"a ""{n}"""' for n in range(1, 61)}, {n: f'a "{n}"' for n in range(1, 61)}),
        ({30: '"a\r\n\r\nb, c"'}, {30: "a b, c"}),
        ({5: '"1, 2"', 6: '"3,4,5,6"'}, {5: "1, 2", 6: "3,4,5,6"}),
        ({50: '"a \\"b\\" c, d"', 51: '"e, f"'}, {50: 'a "b" c, d', 51: "e, f"}),
        ({1: '"Amélie, 雪国"'}, {1: "Amélie, 雪国"}),
        ({7: '",a"', 8: '"b,"', 9: '",c,"'}, {7: ",a", 8: "b,", 9: ",c,"}),
        ({7: '"a\tb, c"'}, {7: "a b, c"}),
        ({n: '"' + "x" * 3000 + f', {n}"' for n in range(1, 61)},
         {n: "x" * 3000 + f", {n}" for n in range(1, 61)}),
    ],
)  # fmt: skip
def test_quotes_around_fields(tmp_path: Path, written: Mapping[int, str], meant: Mapping[int, str]) -> None:
    assert read(tmp_path, items=listing("item_id,title", "{id},{title}", written)) == titles(meant)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("user_id,item_id,eventTime", "{user},{item},{m:%Y-%m-%dT%H:%M:%S}Z"),
        ("user_id,item_id,created_at", "{user},{item},{m:%Y-%m-%d %H:%M:%S}.000"),
        ("user_id,item_id,ratedAt", "{user},{item},{second}"),
        ("user_id,item_id,Time", "{user},{item},{m:%d %b %Y %H:%M:%S}"),
        ("user_id,item_id,DateTime", "{user},{item},{m:%Y/%m/%d %H:%M:%S}"),
        ("user_id,item_id,ts", "{user},{item},{second}000"),
        ("user_id,item_id,order_date", "{user},{item},{m:%Y-%m-%d}"),
        ("user_id,item_id,review_date", '{user},{item},"{m:%B %d, %Y}"'),
        ("user_id,item_id,viewed_at", "{user},{item},{m:%Y-%m-%d %H:%M:%S} GMT"),
        ("user_id,item_id,unix_time", "{user},{item},{second}.25"),
    ],
)
def test_times_under_many_names(tmp_path: Path, header: str, line: str) -> None:
    read(tmp_path, text(header, line))


@pytest.mark.parametrize("hours", [-11, -3.5, 0, 1, 5.75])
@pytest.mark.parametrize("space", ["", " "])
def test_times_with_an_offset_are_the_same_moment(tmp_path: Path, hours: float, space: str) -> None:
    zone = timezone(timedelta(hours=hours))
    lines = [
        f"{a.user},{a.item},{moment:%Y-%m-%d %H:%M:%S}{space}{moment:%z}"
        for a in acts()
        for moment in [a.moment.astimezone(zone)]
    ]
    added = add(tmp_path, "\n".join(["user_id,item_id,timestamp", *lines, ""]))
    assert kept(added) == order(7)
    assert added.dataset.sequences["7"].timestamps[0] == min(a.second for a in acts() if a.user == 7)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("0,1,2,3", "{user},{item},{rating},{second}"),
        ("0;1;2", "{user};{item};{second}"),
        (",0,1,2", "{user}{item:03d},{user},{item},{second}"),
        ("index,user,item,timestamp", "{user}{item:03d},{user},{item},{second}"),
        ("0\t1\t2", "{user}\t{item}\t{second}"),
        ("UserId|ItemId|Timestamp", "{user}|{item}|{second}"),
        ("user_id:token,item_id:token,timestamp:float", "{user},{item},{second}.0"),
        ('"user_id","item_id","timestamp"', '"{user}","{item}","{second}"'),
        ("\ufeffuser_id,item_id,timestamp", "{user},{item},{second}"),
        ("Customer ID,Product ID,Stars,Review Time", "{user},{item},{rating},{second}"),
    ],
)  # fmt: skip
def test_first_lines(tmp_path: Path, header: str, line: str) -> None:
    read(tmp_path, text(header, line))


@pytest.mark.parametrize(
    ("separator", "odd"),
    [
        (";", {1: "a, b"}), (";", {60: "a,b,c"}), ("|", {5: "a; b, c"}), ("\t", {5: "a | b; c, d"}),
        ("::", {5: "a: b | c, d"}), (",", {5: "a; b | c"}),
        (";", {n: f"x,y {n}" for n in range(1, 60)}),
        ("|", {5: "a\tb"}), ("::", {5: ":a", 6: "b: "}), (";", {3: "1,5"}),
    ],
)  # fmt: skip
def test_separators(tmp_path: Path, separator: str, odd: Mapping[int, str]) -> None:
    found = read(tmp_path, items=listing(f"item_id{separator}title", f"{{id}}{separator}{{title}}", odd))
    assert found == titles({item: " ".join(title.split()) for item, title in odd.items()})


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("cp1252", "Œuvre"), ("cp1252", "“Quoted”"), ("cp1252", "Price: 5 €"), ("latin-1", "Señor Ñandú"),
        ("latin-1", "Çà et là"), ("utf-8", "é"), ("utf-8-sig", "Łódź"), ("utf-16", "Привет"),
        ("utf-16-le", "雪"), ("utf-8", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🏳️‍🌈"),
    ],
)  # fmt: skip
def test_encodings(tmp_path: Path, encoding: str, title: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    items = (mark + listing("item_id,title", "{id},{title}", {4: title})).encode(encoding)
    assert read(tmp_path, items=items)[4] == title


@pytest.mark.parametrize(
    ("acted", "listed"),
    [
        ("{item}.0", "{id}"), ("{item}", "{id}.0"), ("{item}.00", "{id}"), (" {item} ", "{id}"),
        ("{item}", " {id}"), ('"{item}"', "{id}"), ("{item}", '"{id}"'), ("{item}.0", "{id}.0"),
        ("{item:05d}", "{id:05d}"), ("tt{item:07d}", "tt{id:07d}"),
    ],
)  # fmt: skip
def test_ids_as_programs_write_them(tmp_path: Path, acted: str, listed: str) -> None:
    added = add(
        tmp_path,
        text("user_id,item_id,timestamp", "{user}," + acted + ",{second}"),
        listing("item_id,title", listed + ",{title}"),
    )
    assert len(added.dataset.catalogue) == ITEMS and added.left_out == 0
    titled = [added.dataset.catalogue.titles[item] for item in added.dataset.sequences["7"].items]
    assert titled == [f"Title {item}" for item in order(7)]


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (("movie_id", "movie_id"), "movie_id"),
        (("asin", "asin"), "asin"), (("itemId", "item_id"), "item_id"),
        (("track_id", "id"), "id"), (("sku", "sku"), "sku"), (("product", "product_id"), "product_id"),
        (("business_id", "business_id"), "business_id"), (("gameid", "appid"), "appid"),
        (("song", "song"), "song"), (("isbn", "ISBN"), "ISBN"),
    ],
)  # fmt: skip
def test_files_are_joined_by_the_id_that_both_hold(
    tmp_path: Path, names: tuple[str, str], joined: str
) -> None:
    acted, listed = names
    added = add(
        tmp_path,
        text(f"user_id,{acted},timestamp", "{user},{item},{second}"),
        listing(f"other,{listed},title", "{id}77,{id},{title}"),
    )
    assert added.card.sources[0].items.id == joined and kept(added) == order(7)


def _zipped(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._x.csv", b"junk")
        archive.writestr("folder/", b"")
        archive.writestr("folder/x.csv", content)
    return held.getvalue()


def _json(shape: Callable[[dict[str, object]], object], whole: bool = False) -> bytes:
    rows = [
        shape({"user_id": a.user, "item_id": a.item, "rating": a.rating, "timestamp": a.second})
        for a in acts()
    ]
    text = json.dumps(rows) if whole else "\n".join(map(json.dumps, rows))
    return text.encode()


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(TIMED.encode()),
        gzip.compress(TIMED[:500].encode()) + gzip.compress(TIMED[500:].encode()),
        bz2.compress(TIMED.encode()), lzma.compress(TIMED.encode()), _zipped(TIMED.encode()),
        _json(dict), _json(dict, whole=True), gzip.compress(_json(dict)),
        _json(lambda row: {**row, "user_id": str(row["user_id"]), "note": [1, {"a": None}]}),
        _json(lambda row: {**row, "rating": row["rating"] / 2, "timestamp": f"{row['timestamp']}"}),  # type: ignore[operator]
        _json(dict).replace(b"}\n{", b"}\r\n{"), b"\n \n" + _json(dict) + b"\n\n",
    ],
)  # fmt: skip
def test_packed_files_and_json(tmp_path: Path, content: bytes) -> None:
    read(tmp_path, content)


FRAME = pd.DataFrame([(a.user, a.item, float(a.rating), a.second) for a in acts()], columns=list("uirt"))
FRAME.columns = pd.Index(["user_id", "item_id", "rating", "timestamp"])


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s")),
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s", utc=True)),
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s").dt.strftime("%Y-%m-%d %H:%M:%S")),
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
        lambda f: f.assign(timestamp=f.timestamp * 1000),
        lambda f: f.assign(timestamp=f.timestamp.astype(float)),
        lambda f: f.assign(user_id=f.user_id.astype(str), item_id=f.item_id.astype(str)),
        lambda f: f.assign(item_id=f.item_id.astype(str).str.encode("utf-8")),
        lambda f: f.assign(user_id=f.user_id.astype("category"), item_id=f.item_id.astype("int16")),
        lambda f: f.assign(timestamp=f.timestamp.astype(str)),
        lambda f: f.assign(item_id=f.item_id.astype(float)),
    ],
)
def test_parquet_of_many_types(tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    held = io.BytesIO()
    change(FRAME).to_parquet(held, row_group_size=50)
    read(tmp_path, held.getvalue(), names=("i.parquet", "t.csv"))


@pytest.mark.parametrize(
    ("said", "interactions"),
    [
        (Said(separator="space"), text("", "{user} {item} {rating} {second}")),
        (Said(separator="~"), text("user_id~item_id~timestamp", "{user}~{item}~{second}")),
        (Said(separator=";"), text("user_id;item_id;timestamp", "{user};{item};{second}")),
        (Said(header="none"), None),
        (Said(header="both"), TIMED),
        (Said(header="items"), text("", "{user},{item},{rating},{second}")),
        (Said(encoding="utf-8"), TIMED),
        (Said(encoding="cp1252"), TIMED),
        (Said(quoting="double"), TIMED),
        (Said(quoting="none"), TIMED),
    ],
)
def test_what_is_said_is_heeded(tmp_path: Path, said: Said, interactions: str | None) -> None:
    bare = said.header == "none"
    items = listing("", "{id},{title}") if bare else TITLED
    read(tmp_path, interactions or text("", "{user},{item},{rating},{second}"), items, said=said)
